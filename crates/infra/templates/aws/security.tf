# Who may reach whom: balancer -> tasks -> database, cache, endpoints. Groups name groups, never addresses inside.

resource "aws_security_group" "balancer" {
  name = "${local.name}-balancer"
  description = "The balancer"
  vpc_id = aws_vpc.main.id

  lifecycle {
    create_before_destroy = true
  }
}

<% if site.cdn == "cloudfront" %>
data "aws_ec2_managed_prefix_list" "cloudfront" {
  name = "com.amazonaws.global.cloudfront.origin-facing"
}

resource "aws_vpc_security_group_ingress_rule" "balancer_https" {
  security_group_id = aws_security_group.balancer.id
  description = "HTTPS from CloudFront only"
  ip_protocol = "tcp"
  from_port = 443
  to_port = 443
  prefix_list_id = data.aws_ec2_managed_prefix_list.cloudfront.id
}
<% else %>
resource "aws_vpc_security_group_ingress_rule" "balancer_https" {
  security_group_id = aws_security_group.balancer.id
  description = "HTTPS from users"
  ip_protocol = "tcp"
  from_port = 443
  to_port = 443
  cidr_ipv4 = "0.0.0.0/0"
}

resource "aws_vpc_security_group_ingress_rule" "balancer_http" {
  #checkov:skip=CKV_AWS_260:answers with a redirect to HTTPS and nothing else
  security_group_id = aws_security_group.balancer.id
  description = "HTTP from users, redirected"
  ip_protocol = "tcp"
  from_port = 80
  to_port = 80
  cidr_ipv4 = "0.0.0.0/0"
}
<% endif %>

<% for s in services %>
resource "aws_security_group" "«s.label»" {
  name = "«s.full»"
  description = "Tasks of «s.name»"
  vpc_id = aws_vpc.main.id

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "balancer_«s.label»" {
  security_group_id = aws_security_group.balancer.id
  description = "To tasks of «s.name»"
  ip_protocol = "tcp"
  from_port = «s.port»
  to_port = «s.port»
  referenced_security_group_id = aws_security_group.«s.label».id
}

resource "aws_vpc_security_group_ingress_rule" "«s.label»_balancer" {
  security_group_id = aws_security_group.«s.label».id
  description = "From the balancer"
  ip_protocol = "tcp"
  from_port = «s.port»
  to_port = «s.port»
  referenced_security_group_id = aws_security_group.balancer.id
}

resource "aws_vpc_security_group_egress_rule" "«s.label»_endpoints" {
  security_group_id = aws_security_group.«s.label».id
  description = "To services of AWS inside the network"
  ip_protocol = "tcp"
  from_port = 443
  to_port = 443
  referenced_security_group_id = aws_security_group.endpoints.id
}

resource "aws_vpc_security_group_egress_rule" "«s.label»_s3" {
  security_group_id = aws_security_group.«s.label».id
  description = "To S3, where layers of images lie"
  ip_protocol = "tcp"
  from_port = 443
  to_port = 443
  prefix_list_id = aws_vpc_endpoint.s3.prefix_list_id
}

resource "aws_vpc_security_group_egress_rule" "«s.label»_outside" {
  for_each = var.egress_cidrs
  security_group_id = aws_security_group.«s.label».id
  description = "To what var.egress_cidrs names"
  ip_protocol = "tcp"
  from_port = 443
  to_port = 443
  cidr_ipv4 = each.value
}

<% if site.database %>
resource "aws_vpc_security_group_egress_rule" "«s.label»_database" {
  security_group_id = aws_security_group.«s.label».id
  description = "To the database"
  ip_protocol = "tcp"
  from_port = «site.database.port»
  to_port = «site.database.port»
  referenced_security_group_id = aws_security_group.database.id
}

resource "aws_vpc_security_group_ingress_rule" "database_«s.label»" {
  security_group_id = aws_security_group.database.id
  description = "From tasks of «s.name»"
  ip_protocol = "tcp"
  from_port = «site.database.port»
  to_port = «site.database.port»
  referenced_security_group_id = aws_security_group.«s.label».id
}

<% endif %>
<% if site.cache %>
resource "aws_vpc_security_group_egress_rule" "«s.label»_cache" {
  security_group_id = aws_security_group.«s.label».id
  description = "To the cache"
  ip_protocol = "tcp"
  from_port = 6379
  to_port = 6379
  referenced_security_group_id = aws_security_group.cache.id
}

resource "aws_vpc_security_group_ingress_rule" "cache_«s.label»" {
  security_group_id = aws_security_group.cache.id
  description = "From tasks of «s.name»"
  ip_protocol = "tcp"
  from_port = 6379
  to_port = 6379
  referenced_security_group_id = aws_security_group.«s.label».id
}

<% endif %>
resource "aws_vpc_security_group_ingress_rule" "endpoints_«s.label»" {
  security_group_id = aws_security_group.endpoints.id
  description = "From tasks of «s.name»"
  ip_protocol = "tcp"
  from_port = 443
  to_port = 443
  referenced_security_group_id = aws_security_group.«s.label».id
}

<% endfor %>
resource "aws_security_group" "endpoints" {
  name = "${local.name}-endpoints"
  description = "Endpoints of services of AWS"
  vpc_id = aws_vpc.main.id

  lifecycle {
    create_before_destroy = true
  }
}
<% if site.database %>

resource "aws_security_group" "database" {
  name = "${local.name}-database"
  description = "PostgreSQL"
  vpc_id = aws_vpc.main.id

  lifecycle {
    create_before_destroy = true
  }
}
<% if site.azure and site.azure.link == "tls-allowlist" %>

resource "aws_vpc_security_group_ingress_rule" "database_standby" {
  for_each = var.standby_egress_cidrs
  security_group_id = aws_security_group.database.id
  description = "The subscriber in Azure, by TLS"
  ip_protocol = "tcp"
  from_port = «site.database.port»
  to_port = «site.database.port»
  cidr_ipv4 = each.value
}
<% elif site.azure %>

resource "aws_vpc_security_group_ingress_rule" "database_standby" {
  security_group_id = aws_security_group.database.id
  description = "The subscriber in Azure, by VPN"
  ip_protocol = "tcp"
  from_port = «site.database.port»
  to_port = «site.database.port»
  cidr_ipv4 = "«site.azure.cidr»"
}
<% endif %>
<% endif %>
<% if site.cache %>

resource "aws_security_group" "cache" {
  name = "${local.name}-cache"
  description = "Redis"
  vpc_id = aws_vpc.main.id

  lifecycle {
    create_before_destroy = true
  }
}
<% endif %>
