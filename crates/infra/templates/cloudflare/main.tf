terraform {
  required_version = ">= 1.11"

  required_providers {
    cloudflare = {
      source = "cloudflare/cloudflare"
      version = "~> 5.14"
    }
  }

  backend "s3" {
    bucket = "«site.state.bucket»"
    key = "«site.environment»/cloudflare.tfstate"
    region = "«site.region»"
    encrypt = true
    use_lockfile = true
    allowed_account_ids = ["«site.account»"]
  }
}

# Its token comes from CLOUDFLARE_API_TOKEN.
provider "cloudflare" {}

variable "cloudflare_zone_id" {
  description = "The zone."
  type = string
}

variable "origin" {
  description = "Name of the balancer; an output of the root aws."
  type = string
}

locals {
  proxied = «plan.cloudflare == "allow"»
}

resource "cloudflare_dns_record" "app" {
  zone_id = var.cloudflare_zone_id
  name = "app"
  type = "CNAME"
  content = var.origin
  ttl = local.proxied ? 1 : 60
  proxied = local.proxied
}
<% if plan.cloudflare == "allow" %>

resource "cloudflare_zone_setting" "tls" {
  zone_id = var.cloudflare_zone_id
  setting_id = "min_tls_version"
  value = "1.2"
}

resource "cloudflare_zone_setting" "strict" {
  zone_id = var.cloudflare_zone_id
  setting_id = "ssl"
  value = "strict"
}

# Decrypted inside the European Union only.
resource "cloudflare_regional_hostname" "app" {
  zone_id = var.cloudflare_zone_id
  hostname = "app"
  region_key = "eu"
}

# The origin takes requests of Cloudflare only.
resource "cloudflare_authenticated_origin_pulls" "app" {
  zone_id = var.cloudflare_zone_id

  config = [{
    hostname = "app"
    enabled = true
  }]
}

resource "cloudflare_ruleset" "rate" {
  zone_id = var.cloudflare_zone_id
  name = "rate"
  kind = "zone"
  phase = "http_ratelimit"

  rules = [{
    description = "Everybody, health paths left out"
    expression = "not starts_with(http.request.uri.path, \"«health_prefix»\")"
    action = "block"
    ratelimit = {
      characteristics = ["cf.colo.id", "ip.src"]
      period = 300
      requests_per_period = 2000
      mitigation_timeout = 300
    }
  }]
}
<% endif %>
