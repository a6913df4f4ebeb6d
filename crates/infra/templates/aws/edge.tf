# One edge on the host name, and an origin that accepts only it. Nothing is cached: answers are about patients.

<% if site.certificate %>
locals {
  edge_certificate = "«site.certificate»"
}
<% else %>
resource "aws_acm_certificate" "edge" {
  provider = aws.us_east_1

  domain_name = local.host
  subject_alternative_names = [local.domain, "primary.${local.domain}"]
  validation_method = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_acm_certificate_validation" "edge" {
  provider = aws.us_east_1

  certificate_arn = aws_acm_certificate.edge.arn
  validation_record_fqdns = [for record in aws_route53_record.certificate : record.fqdn]
}

locals {
  edge_certificate = aws_acm_certificate_validation.edge.certificate_arn
}
<% endif %>

resource "aws_cloudfront_vpc_origin" "main" {
  vpc_origin_endpoint_config {
    name = local.name
    arn = aws_lb.main.arn
    http_port = 80
    https_port = 443
    origin_protocol_policy = "https-only"

    origin_ssl_protocols {
      items = ["TLSv1.2"]
      quantity = 1
    }
  }
}

data "aws_cloudfront_cache_policy" "none" {
  name = "Managed-CachingDisabled"
}

data "aws_cloudfront_origin_request_policy" "all" {
  name = "Managed-AllViewer"
}

resource "aws_cloudfront_response_headers_policy" "main" {
  name = local.name

  security_headers_config {
    strict_transport_security {
      access_control_max_age_sec = 31536000
      include_subdomains = true
      override = true
      preload = true
    }

    content_type_options {
      override = true
    }

    frame_options {
      frame_option = "DENY"
      override = false
    }

    referrer_policy {
      referrer_policy = "same-origin"
      override = false
    }
  }
}

resource "aws_cloudfront_distribution" "main" {
  #checkov:skip=CKV_AWS_86:its log lines hold whole URIs and are written outside the region; the redacted log of the firewall and the balancer's log stand in
  #checkov:skip=CKV_AWS_310:the other origin is another site, reached by DNS
  #checkov:skip=CKV_AWS_305:an application answers /, no object
  #checkov:skip=CKV_AWS_374:countries are the firewall's question: travellers are challenged, not locked out
  #checkov:skip=CKV2_AWS_47:AWSManagedRulesKnownBadInputsRuleSet is rule 11 of the ACL
  enabled = true
  comment = local.name
  aliases = [local.host, local.domain, "primary.${local.domain}"]
  http_version = "http2and3"
  is_ipv6_enabled = true
  price_class = "PriceClass_100"
  web_acl_id = aws_wafv2_web_acl.main.arn

  origin {
    origin_id = "balancer"
    domain_name = aws_lb.main.dns_name

    vpc_origin_config {
      vpc_origin_id = aws_cloudfront_vpc_origin.main.id
      origin_read_timeout = 60
      origin_keepalive_timeout = 60
    }
  }

  default_cache_behavior {
    target_origin_id = "balancer"
    viewer_protocol_policy = "redirect-to-https"
    allowed_methods = ["GET", "HEAD", "OPTIONS", "PUT", "POST", "PATCH", "DELETE"]
    cached_methods = ["GET", "HEAD"]
    compress = true
    cache_policy_id = data.aws_cloudfront_cache_policy.none.id
    origin_request_policy_id = data.aws_cloudfront_origin_request_policy.all.id
    response_headers_policy_id = aws_cloudfront_response_headers_policy.main.id
  }

  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }

  viewer_certificate {
    acm_certificate_arn = local.edge_certificate
    ssl_support_method = "sni-only"
    minimum_protocol_version = "TLSv1.2_2021"
  }
}
