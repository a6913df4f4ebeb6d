# The standby. Its state lies in Azure: a failover that needs a state in Paris is none.

terraform {
  required_version = ">= 1.11"

  required_providers {
    azurerm = {
      source = "hashicorp/azurerm"
      version = "~> 4.55"
    }
  }

  backend "azurerm" {
    resource_group_name = "«site.full»-state"
    storage_account_name = "«site.azure.compact»tfstate"
    container_name = "tfstate"
    key = "«site.environment»/standby.tfstate"
    use_azuread_auth = true
  }
}

provider "azurerm" {
  subscription_id = "«site.azure.subscription»"
  tenant_id = "«site.azure.tenant»"

  features {
    key_vault {
      purge_soft_delete_on_destroy = false
    }
  }
}

locals {
  name = "«site.full»"
  location = "«site.azure.region»"
  domain = <% if plan.domain %>"<% if not production %>«site.environment».<% endif %>«plan.domain»"<% else %>var.domain<% endif %>

  host = "app.${local.domain}"

  tags = {
    Project = "«plan.title»"
    Environment = "«site.environment»"
    ManagedBy = "Terraform"
    Site = "standby"
  }
}

resource "azurerm_resource_group" "main" {
  name = "${local.name}-standby"
  location = local.location
  tags = local.tags
}

# Nobody removes the standby by mistake in a quiet year.
resource "azurerm_management_lock" "main" {
  name = "standby"
  scope = azurerm_resource_group.main.id
  lock_level = "CanNotDelete"
}
