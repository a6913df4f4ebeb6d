<% if site.cdn == "cloudfront" %>
# The primary site under a name of its own, so that a check does not ask whoever serves the users.
resource "aws_route53_record" "primary" {
  zone_id = var.zone_id
  name = "primary.${local.domain}"
  type = "CNAME"
  ttl = «site.ttl»
  records = [aws_cloudfront_distribution.main.domain_name]
}
<% else %>
resource "aws_route53_record" "primary" {
  zone_id = var.zone_id
  name = "primary.${local.domain}"
  type = "CNAME"
  ttl = «site.ttl»
  records = [aws_lb.main.dns_name]
}
<% endif %>
<% if production %>

# Detection at worst: «site.check_failures» x («site.check_interval» s + 6 s), then the TTL of «site.ttl» s.
resource "aws_route53_health_check" "primary" {
  type = "HTTPS_STR_MATCH"
  fqdn = aws_route53_record.primary.name
  port = 443
  resource_path = "«site.deep»"
  search_string = «site.check_expect | hcl»
  request_interval = «site.check_interval»
  failure_threshold = «site.check_failures»
  measure_latency = true
  enable_sni = true
  regions = ["eu-west-1", "us-east-1", "us-west-2"]

  tags = {
    Name = "${local.name}-primary"
  }
}
<% endif %>
<% if site.azure %>

# The standby says by itself that it writes: no call to a control plane is needed in the hour when none answers.
resource "aws_route53_health_check" "standby_writes" {
  type = "HTTPS_STR_MATCH"
  fqdn = var.standby_fqdn
  port = 443
  resource_path = "«site.deep»"
  search_string = "\"writer\":\"azure\""
  request_interval = «site.check_interval»
  failure_threshold = «site.check_failures»
  invert_healthcheck = true
  enable_sni = true
  regions = ["eu-west-1", "us-east-1", "us-west-2"]

  tags = {
    Name = "${local.name}-standby-writes"
  }
}

# Healthy: it answers as the writer, and the standby is none. Both must hold, so it stays down after a failover.
resource "aws_route53_health_check" "serves" {
  type = "CALCULATED"
  child_healthchecks = [aws_route53_health_check.primary.id, aws_route53_health_check.standby_writes.id]
  child_health_threshold = 2

  tags = {
    Name = "${local.name}-serves"
  }
}

# Watched, attached to nothing: with both sites down an answer is better than none.
resource "aws_route53_health_check" "standby" {
  type = "HTTPS"
  fqdn = var.standby_fqdn
  port = 443
  resource_path = "«site.deep»"
  request_interval = 30
  failure_threshold = 3
  enable_sni = true
  regions = ["eu-west-1", "us-east-1", "us-west-2"]

  tags = {
    Name = "${local.name}-standby"
  }
}

resource "aws_route53_record" "app_primary" {
  zone_id = var.zone_id
  name = local.host
  type = "CNAME"
  ttl = «site.ttl»
  records = [aws_cloudfront_distribution.main.domain_name]
  set_identifier = "primary"
  health_check_id = aws_route53_health_check.serves.id

  failover_routing_policy {
    type = "PRIMARY"
  }
}

resource "aws_route53_record" "app_secondary" {
  zone_id = var.zone_id
  name = local.host
  type = "CNAME"
  ttl = «site.ttl»
  records = [var.standby_fqdn]
  set_identifier = "secondary"

  failover_routing_policy {
    type = "SECONDARY"
  }
}

# The apex cannot be a CNAME: an alias here, an address there. No AAAA: the standby has none.
resource "aws_route53_record" "apex_primary" {
  zone_id = var.zone_id
  name = local.domain
  type = "A"
  set_identifier = "primary"
  health_check_id = aws_route53_health_check.serves.id

  alias {
    name = aws_cloudfront_distribution.main.domain_name
    zone_id = aws_cloudfront_distribution.main.hosted_zone_id
    evaluate_target_health = false
  }

  failover_routing_policy {
    type = "PRIMARY"
  }
}

resource "aws_route53_record" "apex_secondary" {
  #checkov:skip=CKV2_AWS_23:an address of the standby in Azure
  zone_id = var.zone_id
  name = local.domain
  type = "A"
  ttl = «site.ttl»
  records = [var.standby_ip]
  set_identifier = "secondary"

  failover_routing_policy {
    type = "SECONDARY"
  }
}

# Azure serves the names with a certificate we bring; these prove that they are ours.
resource "aws_route53_record" "standby_verification" {
  for_each = toset([local.host, local.domain])

  zone_id = var.zone_id
  name = "asuid.${each.value}"
  type = "TXT"
  ttl = 300
  records = [var.standby_verification_id]
}
<% else %>

resource "aws_route53_record" "app" {
  zone_id = var.zone_id
  name = local.host
  type = "CNAME"
  ttl = «site.ttl»
  records = [<% if site.cdn == "cloudfront" %>aws_cloudfront_distribution.main.domain_name<% else %>aws_lb.main.dns_name<% endif %>]
}

resource "aws_route53_record" "apex" {
  zone_id = var.zone_id
  name = local.domain
  type = "A"

  alias {
<% if site.cdn == "cloudfront" %>
    name = aws_cloudfront_distribution.main.domain_name
    zone_id = aws_cloudfront_distribution.main.hosted_zone_id
    evaluate_target_health = false
<% else %>
    name = aws_lb.main.dns_name
    zone_id = aws_lb.main.zone_id
    evaluate_target_health = true
<% endif %>
  }
}
<% endif %>
