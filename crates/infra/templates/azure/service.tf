resource "azurerm_container_app_environment" "main" {
  name = local.name
  location = azurerm_resource_group.main.location
  resource_group_name = azurerm_resource_group.main.name
  logs_destination = "log-analytics"
  log_analytics_workspace_id = azurerm_log_analytics_workspace.main.id
  infrastructure_subnet_id = azurerm_subnet.apps.id
  infrastructure_resource_group_name = "${local.name}-standby-apps"
  internal_load_balancer_enabled = false
  zone_redundancy_enabled = true
  mutual_tls_enabled = true
  tags = local.tags

  workload_profile {
    name = "Consumption"
    workload_profile_type = "Consumption"
  }
}

resource "azurerm_container_app_environment_certificate" "main" {
  name = "${local.name}-edge"
  container_app_environment_id = azurerm_container_app_environment.main.id
  certificate_blob_base64 = var.certificate_pfx
  certificate_password = var.certificate_password
  tags = local.tags
}

<% for s in services %>
resource "azurerm_container_app" "«s.label»" {
  name = "«s.full»"
  resource_group_name = azurerm_resource_group.main.name
  container_app_environment_id = azurerm_container_app_environment.main.id
  revision_mode = "Multiple"
  workload_profile_name = "Consumption"
  max_inactive_revisions = 10
  tags = local.tags

  identity {
    type = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.main.id]
  }

  registry {
    server = azurerm_container_registry.main.login_server
    identity = azurerm_user_assigned_identity.main.id
  }

<% for key in s.secrets %>
  secret {
    name = "«key | lower | replace("_", "-")»"
    key_vault_secret_id = "${azurerm_key_vault.main.vault_uri}secrets/«key | replace("_", "-")»"
    identity = azurerm_user_assigned_identity.main.id
  }

<% endfor %>
  ingress {
    external_enabled = true
    allow_insecure_connections = false
    target_port = «s.port»
    transport = "auto"

    traffic_weight {
      latest_revision = true
      percentage = 100
    }
  }

  template {
    min_replicas = «site.azure.min»
    max_replicas = «site.azure.max»
    termination_grace_period_seconds = «s.stop_seconds»

    container {
      name = "«s.name»"
      image = var.image_«s.label»
      cpu = «s.cpu / 1024»
      memory = "«s.memory_mib / 1024»Gi"
      command = [<% for word in s.command %>«word | hcl»<% if not loop.last %>, <% endif %><% endfor %>]

      env {
        name = "HOST"
        value = "0.0.0.0"
      }

      env {
        name = "PORT"
        value = "«s.port»"
      }

<% for name, value in s.env | pairs %>
      env {
        name = "«name»"
        value = «value | hcl»
      }

<% endfor %>
<% for key in s.secrets %>
      env {
        name = "«key»"
        secret_name = "«key | lower | replace("_", "-")»"
      }

<% endfor %>
      liveness_probe {
        transport = "HTTP"
        path = "«s.live_path»"
        port = «s.port»
        interval_seconds = 30
        timeout = 10
        failure_count_threshold = 3
      }

      readiness_probe {
        transport = "HTTP"
        path = "«s.balancer_path»"
        port = «s.port»
        interval_seconds = «s.balancer.interval»
        timeout = «s.balancer.timeout»
        failure_count_threshold = «s.balancer.bad»
        success_count_threshold = «s.balancer.good»
      }
    }

    http_scale_rule {
      name = "requests"
      concurrent_requests = "50"
    }
  }

  # Releases and traffic are the engine's, as on AWS.
  lifecycle {
    ignore_changes = [template[0].container[0].image, template[0].revision_suffix, ingress[0].traffic_weight]
  }

  depends_on = [azurerm_role_assignment.pull, azurerm_role_assignment.secrets]
}

<% endfor %>
# Served with a certificate we bring, so that it is there before anybody needs it.
resource "azurerm_container_app_custom_domain" "main" {
  for_each = toset([local.host, local.domain])

  name = each.value
  container_app_id = azurerm_container_app.«services[0].label».id
  container_app_environment_certificate_id = azurerm_container_app_environment_certificate.main.id
  certificate_binding_type = "SniEnabled"
}
