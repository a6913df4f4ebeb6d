output "standby_fqdn" {
  description = "The variable of the same name in the root aws."
  value = azurerm_container_app.«services[0].label».latest_revision_fqdn
}

output "standby_ip" {
  description = "The variable of the same name in the root aws."
  value = azurerm_container_app_environment.main.static_ip_address
}

output "standby_verification_id" {
  description = "The variable of the same name in the root aws."
  value = azurerm_container_app_environment.main.custom_domain_verification_id
  sensitive = true
}
<% if site.azure.link == "tls-allowlist" %>

output "standby_egress_cidrs" {
  description = "The variable of the same name in the root aws."
  value = ["${azurerm_public_ip.egress.ip_address}/32"]
}
<% else %>

output "standby_vpn_address" {
  description = "The variable of the same name in the root aws."
  value = azurerm_public_ip.egress.ip_address
}
<% endif %>

output "registry" {
  description = "Where digests are copied to."
  value = azurerm_container_registry.main.login_server
}
