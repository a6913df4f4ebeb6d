resource "azurerm_log_analytics_workspace" "main" {
  name = local.name
  location = azurerm_resource_group.main.location
  resource_group_name = azurerm_resource_group.main.name
  sku = "PerGB2018"
  retention_in_days = «site.security_days»
  local_authentication_enabled = false
  tags = local.tags
}

resource "azurerm_monitor_action_group" "main" {
  name = "${local.name}-alerts"
  resource_group_name = azurerm_resource_group.main.name
  short_name = "standby"
  tags = local.tags

  email_receiver {
    name = "ops"
    email_address = var.alert_email
  }
}
<% if site.database %>

resource "azurerm_monitor_diagnostic_setting" "database" {
  name = "database"
  target_resource_id = azurerm_postgresql_flexible_server.main.id
  log_analytics_workspace_id = azurerm_log_analytics_workspace.main.id

  enabled_log {
    category = "PostgreSQLLogs"
  }
}

resource "azurerm_monitor_metric_alert" "replication_lag" {
  name = "${local.name}-replication-lag"
  resource_group_name = azurerm_resource_group.main.name
  scopes = [azurerm_postgresql_flexible_server.main.id]
  description = "The standby is behind by more than 30 s"
  severity = 1
  frequency = "PT1M"
  window_size = "PT5M"
  tags = local.tags

  criteria {
    metric_namespace = "Microsoft.DBforPostgreSQL/flexibleServers"
    metric_name = "logical_replication_delay_in_bytes"
    aggregation = "Maximum"
    operator = "GreaterThan"
    threshold = 67108864
  }

  action {
    action_group_id = azurerm_monitor_action_group.main.id
  }
}
<% endif %>

resource "azurerm_monitor_diagnostic_setting" "vault" {
  name = "vault"
  target_resource_id = azurerm_key_vault.main.id
  log_analytics_workspace_id = azurerm_log_analytics_workspace.main.id

  enabled_log {
    category = "AuditEvent"
  }
}

<% for s in services %>
resource "azurerm_monitor_metric_alert" "«s.label»_replicas" {
  name = "«s.full»-replicas"
  resource_group_name = azurerm_resource_group.main.name
  scopes = [azurerm_container_app.«s.label».id]
  description = "Fewer replicas of «s.name» run than a failover would begin with"
  severity = 1
  frequency = "PT1M"
  window_size = "PT5M"
  tags = local.tags

  criteria {
    metric_namespace = "Microsoft.App/containerApps"
    metric_name = "Replicas"
    aggregation = "Minimum"
    operator = "LessThan"
    threshold = «site.azure.min»
  }

  action {
    action_group_id = azurerm_monitor_action_group.main.id
  }
}

<% endfor %>
