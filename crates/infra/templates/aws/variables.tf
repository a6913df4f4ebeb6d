<% for s in services %>
variable "image_«s.label»" {
  description = "Image of «s.name» for the first apply, by digest. Later releases are the engine's."
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
variable "zone_id" {
  description = "The Route 53 zone of the domain; an output of bootstrap."
  type = string
<% if plan.zone_id and production %>
  default = "«plan.zone_id»"
<% endif %>
}
<% if native %>

variable "test_header" {
  description = "Value of the header X-MedEclipse-Test that reaches a release before its users do."
  type = string
  sensitive = true
}
<% endif %>

variable "egress_cidrs" {
  description = "Addresses outside the network that tasks may reach by HTTPS."
  type = set(string)
  default = []
}
<% if site.azure %>

variable "standby_fqdn" {
  description = "Name of the container app of the standby; an output of the root azure."
  type = string
}

variable "standby_ip" {
  description = "Address of the container apps environment of the standby; an output of the root azure."
  type = string
}

variable "standby_verification_id" {
  description = "What Azure looks for under asuid.; an output of the root azure."
  type = string
}
<% if site.azure.link == "tls-allowlist" %>

variable "standby_egress_cidrs" {
  description = "Addresses the subscriber in Azure comes from; an output of the root azure."
  type = set(string)
  default = []
}
<% else %>

variable "standby_vpn_address" {
  description = "Address of the VPN gateway in Azure; an output of the root azure."
  type = string
}
<% endif %>
<% endif %>
