resource "azurerm_virtual_network" "main" {
  name = local.name
  location = azurerm_resource_group.main.location
  resource_group_name = azurerm_resource_group.main.name
  address_space = ["«site.azure.cidr»"]
  tags = local.tags
}

resource "azurerm_subnet" "apps" {
  name = "apps"
  resource_group_name = azurerm_resource_group.main.name
  virtual_network_name = azurerm_virtual_network.main.name
  address_prefixes = [cidrsubnet("«site.azure.cidr»", 7, 0)]

  delegation {
    name = "apps"

    service_delegation {
      name = "Microsoft.App/environments"
      actions = ["Microsoft.Network/virtualNetworks/subnets/join/action"]
    }
  }
}

resource "azurerm_subnet" "database" {
  name = "database"
  resource_group_name = azurerm_resource_group.main.name
  virtual_network_name = azurerm_virtual_network.main.name
  address_prefixes = [cidrsubnet("«site.azure.cidr»", 8, 2)]

  delegation {
    name = "database"

    service_delegation {
      name = "Microsoft.DBforPostgreSQL/flexibleServers"
      actions = ["Microsoft.Network/virtualNetworks/subnets/join/action"]
    }
  }
}

resource "azurerm_subnet" "endpoints" {
  name = "endpoints"
  resource_group_name = azurerm_resource_group.main.name
  virtual_network_name = azurerm_virtual_network.main.name
  address_prefixes = [cidrsubnet("«site.azure.cidr»", 8, 3)]
}

resource "azurerm_network_security_group" "apps" {
  name = "${local.name}-apps"
  location = azurerm_resource_group.main.location
  resource_group_name = azurerm_resource_group.main.name
  tags = local.tags

  security_rule {
    name = "https"
    priority = 100
    direction = "Inbound"
    access = "Allow"
    protocol = "Tcp"
    source_port_range = "*"
    destination_port_range = "443"
    source_address_prefix = "Internet"
    destination_address_prefix = "*"
  }
}

resource "azurerm_subnet_network_security_group_association" "apps" {
  subnet_id = azurerm_subnet.apps.id
  network_security_group_id = azurerm_network_security_group.apps.id
}

resource "azurerm_network_security_group" "database" {
  name = "${local.name}-database"
  location = azurerm_resource_group.main.location
  resource_group_name = azurerm_resource_group.main.name
  tags = local.tags

  security_rule {
    name = "from-apps"
    priority = 100
    direction = "Inbound"
    access = "Allow"
    protocol = "Tcp"
    source_port_range = "*"
    destination_port_range = "5432"
    source_address_prefix = cidrsubnet("«site.azure.cidr»", 7, 0)
    destination_address_prefix = "*"
  }

  security_rule {
    name = "nobody-else"
    priority = 4096
    direction = "Inbound"
    access = "Deny"
    protocol = "*"
    source_port_range = "*"
    destination_port_range = "*"
    source_address_prefix = "Internet"
    destination_address_prefix = "*"
  }
}

resource "azurerm_subnet_network_security_group_association" "database" {
  subnet_id = azurerm_subnet.database.id
  network_security_group_id = azurerm_network_security_group.database.id
}

resource "azurerm_network_security_group" "endpoints" {
  name = "${local.name}-endpoints"
  location = azurerm_resource_group.main.location
  resource_group_name = azurerm_resource_group.main.name
  tags = local.tags

  security_rule {
    name = "from-apps"
    priority = 100
    direction = "Inbound"
    access = "Allow"
    protocol = "Tcp"
    source_port_range = "*"
    destination_port_ranges = ["443", "10000"]
    source_address_prefix = cidrsubnet("«site.azure.cidr»", 7, 0)
    destination_address_prefix = "*"
  }

  security_rule {
    name = "nobody-else"
    priority = 4096
    direction = "Inbound"
    access = "Deny"
    protocol = "*"
    source_port_range = "*"
    destination_port_range = "*"
    source_address_prefix = "*"
    destination_address_prefix = "*"
  }
}

resource "azurerm_subnet_network_security_group_association" "endpoints" {
  subnet_id = azurerm_subnet.endpoints.id
  network_security_group_id = azurerm_network_security_group.endpoints.id
}

resource "azurerm_private_dns_zone" "database" {
  name = "${local.name}.private.postgres.database.azure.com"
  resource_group_name = azurerm_resource_group.main.name
  tags = local.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "database" {
  name = "database"
  resource_group_name = azurerm_resource_group.main.name
  private_dns_zone_name = azurerm_private_dns_zone.database.name
  virtual_network_id = azurerm_virtual_network.main.id
}
<% for zone in ["redis", "vault", "registry"] %>

resource "azurerm_private_dns_zone" "«zone»" {
  name = "privatelink.«{"redis": "redis.azure.net", "vault": "vaultcore.azure.net", "registry": "azurecr.io"}[zone]»"
  resource_group_name = azurerm_resource_group.main.name
  tags = local.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "«zone»" {
  name = "«zone»"
  resource_group_name = azurerm_resource_group.main.name
  private_dns_zone_name = azurerm_private_dns_zone.«zone».name
  virtual_network_id = azurerm_virtual_network.main.id
}

resource "azurerm_private_endpoint" "«zone»" {
  name = "${local.name}-«zone»"
  location = azurerm_resource_group.main.location
  resource_group_name = azurerm_resource_group.main.name
  subnet_id = azurerm_subnet.endpoints.id
  tags = local.tags

  private_service_connection {
    name = "«zone»"
    private_connection_resource_id = «{"redis": "azurerm_managed_redis.main.id", "vault": "azurerm_key_vault.main.id", "registry": "azurerm_container_registry.main.id"}[zone]»
    subresource_names = ["«{"redis": "redisEnterprise", "vault": "vault", "registry": "registry"}[zone]»"]
    is_manual_connection = false
  }

  private_dns_zone_group {
    name = "«zone»"
    private_dns_zone_ids = [azurerm_private_dns_zone.«zone».id]
  }
}
<% endfor %>

# One address the primary knows the subscriber by.
resource "azurerm_public_ip" "egress" {
  name = "${local.name}-egress"
  location = azurerm_resource_group.main.location
  resource_group_name = azurerm_resource_group.main.name
  allocation_method = "Static"
  sku = "Standard"
  zones = ["1", "2", "3"]
  tags = local.tags
}
<% if site.azure.link == "vpn" %>

resource "azurerm_subnet" "gateway" {
  name = "GatewaySubnet"
  resource_group_name = azurerm_resource_group.main.name
  virtual_network_name = azurerm_virtual_network.main.name
  address_prefixes = [cidrsubnet("«site.azure.cidr»", 11, 32)]
}

resource "azurerm_virtual_network_gateway" "main" {
  name = local.name
  location = azurerm_resource_group.main.location
  resource_group_name = azurerm_resource_group.main.name
  type = "Vpn"
  sku = "VpnGw1AZ"
  tags = local.tags

  ip_configuration {
    name = "main"
    subnet_id = azurerm_subnet.gateway.id
    public_ip_address_id = azurerm_public_ip.egress.id
  }
}

resource "azurerm_local_network_gateway" "primary" {
  name = "${local.name}-primary"
  location = azurerm_resource_group.main.location
  resource_group_name = azurerm_resource_group.main.name
  gateway_address = var.primary_vpn_address
  address_space = ["«site.cidr»"]
  tags = local.tags
}

resource "azurerm_virtual_network_gateway_connection" "primary" {
  name = "${local.name}-primary"
  location = azurerm_resource_group.main.location
  resource_group_name = azurerm_resource_group.main.name
  type = "IPsec"
  virtual_network_gateway_id = azurerm_virtual_network_gateway.main.id
  local_network_gateway_id = azurerm_local_network_gateway.primary.id
  shared_key = var.vpn_shared_key
  tags = local.tags
}
<% endif %>
