<% for s in services %>
variable "image_«s.label»" {
  description = "Image of «s.name» in the registry below, by the digest that serves on AWS."
  type = string

  validation {
    condition = can(regex("@sha256:[0-9a-f]{64}$", var.image_«s.label»))
    error_message = "Name the image by its digest: REPOSITORY@sha256:…"
  }
}

<% endfor %>
<% if not plan.domain %>
variable "domain" {
  description = "The domain users reach."
  type = string
}

<% endif %>
variable "certificate_pfx" {
  description = "The certificate of the host names, as PFX in base64: a managed one would need public DNS to point here."
  type = string
  sensitive = true
}

variable "certificate_password" {
  description = "The password of the PFX."
  type = string
  sensitive = true
}

variable "database_admin_object_id" {
  description = "Object id in Entra of the group that administers the database."
  type = string
}

variable "alert_email" {
  description = "Whom alarms of the standby reach."
  type = string
<% if site.email %>
  default = "«site.email[0]»"
<% endif %>
}
<% if site.azure.link == "vpn" %>

variable "primary_vpn_address" {
  description = "Address of the VPN gateway in AWS."
  type = string
}

variable "vpn_shared_key" {
  description = "The shared key of the tunnel."
  type = string
  sensitive = true
}
<% else %>

variable "primary_database_addresses" {
  description = "Addresses of the primary database the subscriber connects to."
  type = map(string)
  default = {}
}
<% endif %>
