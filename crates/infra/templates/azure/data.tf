data "azurerm_client_config" "current" {}

# Who may use the keys and read the secrets: the standby's own identity, nobody by password.
resource "azurerm_user_assigned_identity" "main" {
  name = local.name
  location = azurerm_resource_group.main.location
  resource_group_name = azurerm_resource_group.main.name
  tags = local.tags
}

resource "azurerm_key_vault" "main" {
  name = "«site.azure.compact»kv"
  location = azurerm_resource_group.main.location
  resource_group_name = azurerm_resource_group.main.name
  tenant_id = data.azurerm_client_config.current.tenant_id
  sku_name = "premium"
  rbac_authorization_enabled = true
  purge_protection_enabled = true
  soft_delete_retention_days = 90
  public_network_access_enabled = false
  tags = local.tags

  network_acls {
    bypass = "AzureServices"
    default_action = "Deny"
  }
}

resource "azurerm_role_assignment" "keys" {
  scope = azurerm_key_vault.main.id
  role_definition_name = "Key Vault Crypto Service Encryption User"
  principal_id = azurerm_user_assigned_identity.main.principal_id
}

resource "azurerm_role_assignment" "secrets" {
  scope = azurerm_key_vault.main.id
  role_definition_name = "Key Vault Secrets User"
  principal_id = azurerm_user_assigned_identity.main.principal_id
}

<% for key in ["database", "cache", "registry"] %>
resource "azurerm_key_vault_key" "«key»" {
  name = "«key»"
  key_vault_id = azurerm_key_vault.main.id
  key_type = "RSA-HSM"
  key_size = 3072
  key_opts = ["decrypt", "encrypt", "unwrapKey", "wrapKey"]
  expiration_date = "2029-01-01T00:00:00Z"

  rotation_policy {
    expire_after = "P365D"
    notify_before_expiry = "P30D"

    automatic {
      time_before_expiry = "P60D"
    }
  }
}

<% endfor %>
<% if site.database %>
# A server of its own, not a replica by Azure: rows come by logical replication from AWS, in tables made by `expand`.
resource "azurerm_postgresql_flexible_server" "main" {
  #checkov:skip=CKV_AZURE_136:it is itself the copy in another cloud; backups of its own would leave the region
  #checkov:skip=CKV2_AZURE_57:lies inside the network by delegation, which excludes a private endpoint
  name = local.name
  location = azurerm_resource_group.main.location
  resource_group_name = azurerm_resource_group.main.name
  create_mode = "Default"
  version = "«site.database.version»"
  sku_name = "«site.azure.database_sku»"
  storage_mb = «site.azure.database_mib»
  auto_grow_enabled = true
  delegated_subnet_id = azurerm_subnet.database.id
  private_dns_zone_id = azurerm_private_dns_zone.database.id
  public_network_access_enabled = false
  backup_retention_days = 35
  zone = "1"
  tags = local.tags

  authentication {
    active_directory_auth_enabled = true
    password_auth_enabled = false
    tenant_id = data.azurerm_client_config.current.tenant_id
  }

  high_availability {
    mode = "ZoneRedundant"
    standby_availability_zone = "2"
  }

  identity {
    type = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.main.id]
  }

  customer_managed_key {
    key_vault_key_id = azurerm_key_vault_key.database.id
    primary_user_assigned_identity_id = azurerm_user_assigned_identity.main.id
  }

  maintenance_window {
    day_of_week = 0
    start_hour = 4
    start_minute = 0
  }

  lifecycle {
    prevent_destroy = true
    ignore_changes = [zone, high_availability[0].standby_availability_zone]
  }

  depends_on = [azurerm_private_dns_zone_virtual_network_link.database, azurerm_role_assignment.keys]
}

resource "azurerm_postgresql_flexible_server_active_directory_administrator" "main" {
  server_name = azurerm_postgresql_flexible_server.main.name
  resource_group_name = azurerm_resource_group.main.name
  tenant_id = data.azurerm_client_config.current.tenant_id
  object_id = var.database_admin_object_id
  principal_name = "${local.name}-database-admins"
  principal_type = "Group"
}

resource "azurerm_postgresql_flexible_server_database" "main" {
  name = "«site.database.name»"
  server_id = azurerm_postgresql_flexible_server.main.id
  charset = "UTF8"
  collation = "en_US.utf8"

  lifecycle {
    prevent_destroy = true
  }
}

# Publication, slot and subscription are `medeclipse failover`'s: they change with every failover, and Terraform must not undo them.
<% for name, value in [["wal_level", "logical"], ["max_worker_processes", "16"], ["require_secure_transport", "on"], ["ssl_min_protocol_version", "TLSv1.2"], ["log_connections", "on"], ["log_disconnections", "on"], ["log_statement", "ddl"], ["log_parameter_max_length", "0"]] %>
resource "azurerm_postgresql_flexible_server_configuration" "«name»" {
  name = "«name»"
  server_id = azurerm_postgresql_flexible_server.main.id
  value = "«value»"
}

<% endfor %>
<% endif %>
resource "azurerm_managed_redis" "main" {
  name = local.name
  location = azurerm_resource_group.main.location
  resource_group_name = azurerm_resource_group.main.name
  sku_name = "«site.azure.cache_sku»"
  high_availability_enabled = true
  public_network_access = "Disabled"
  tags = local.tags

  default_database {
    client_protocol = "Encrypted"
    clustering_policy = "EnterpriseCluster"
    eviction_policy = "VolatileLRU"
    access_keys_authentication_enabled = false
  }

  identity {
    type = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.main.id]
  }

  customer_managed_key {
    key_vault_key_id = azurerm_key_vault_key.cache.id
    user_assigned_identity_id = azurerm_user_assigned_identity.main.id
  }
}

# Images come here by digest at every deployment: none is pulled from a region that is down.
resource "azurerm_container_registry" "main" {
  #checkov:skip=CKV_AZURE_165:one region, like the standby
  name = "«site.azure.compact»acr"
  location = azurerm_resource_group.main.location
  resource_group_name = azurerm_resource_group.main.name
  sku = "Premium"
  admin_enabled = false
  public_network_access_enabled = false
  zone_redundancy_enabled = true
  quarantine_policy_enabled = true
  trust_policy_enabled = true
  data_endpoint_enabled = true
  retention_policy_in_days = 365
  tags = local.tags

  identity {
    type = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.main.id]
  }

  encryption {
    key_vault_key_id = azurerm_key_vault_key.registry.versionless_id
    identity_client_id = azurerm_user_assigned_identity.main.client_id
  }

  depends_on = [azurerm_role_assignment.keys]
}

resource "azurerm_role_assignment" "pull" {
  scope = azurerm_container_registry.main.id
  role_definition_name = "AcrPull"
  principal_id = azurerm_user_assigned_identity.main.principal_id
}
