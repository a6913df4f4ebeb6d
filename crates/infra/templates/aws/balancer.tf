<% if site.cdn == "cloudfront" %>
# Internal: CloudFront reaches it by a VPC origin, nobody else does.
<% endif %>
resource "aws_lb" "main" {
  #checkov:skip=CKV2_AWS_76:AWSManagedRulesKnownBadInputsRuleSet is rule 42 of the ACL before it
<% if site.cdn == "cloudfront" %>
  #checkov:skip=CKV2_AWS_28:internal; the firewall stands at CloudFront, the only way in
<% endif %>
<% if not production %>
  #checkov:skip=CKV_AWS_150:may be made again
<% endif %>
  name = local.name
  load_balancer_type = "application"
  internal = «site.cdn == "cloudfront"»
  subnets = local.<% if site.cdn == "cloudfront" %>private<% else %>public<% endif %>_subnets
  security_groups = [aws_security_group.balancer.id]
  drop_invalid_header_fields = true
  desync_mitigation_mode = "defensive"
  enable_deletion_protection = «production»
  enable_cross_zone_load_balancing = true
  idle_timeout = 60

  access_logs {
    bucket = aws_s3_bucket.access_logs.id
    prefix = "balancer"
    enabled = true
  }

  depends_on = [aws_s3_bucket_policy.access_logs]
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.main.arn
  port = 443
  protocol = "HTTPS"
  ssl_policy = "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"
  certificate_arn = aws_acm_certificate_validation.main.certificate_arn

  default_action {
    type = "fixed-response"

    fixed_response {
      content_type = "text/plain"
      message_body = "no such host or path"
      status_code = "404"
    }
  }
}
<% if site.cdn != "cloudfront" %>

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.main.arn
  port = 80
  protocol = "HTTP"

  default_action {
    type = "redirect"

    redirect {
      port = "443"
      protocol = "HTTPS"
      status_code = "HTTP_301"
    }
  }
}
<% endif %>

<% for s in services %>
<% for letter in ["a", "b"] %>
resource "aws_lb_target_group" "«s.label»_«letter»" {
  #checkov:skip=CKV_AWS_378:TLS ends at the balancer; the tasks lie in private subnets that only it reaches
  name = "«s.full»-«letter»"
  port = «s.port»
  protocol = "HTTP"
  target_type = "ip"
  vpc_id = aws_vpc.main.id
  deregistration_delay = "«s.drain_seconds»"
  load_balancing_algorithm_type = "least_outstanding_requests"

  health_check {
    path = "«s.balancer_path»"
    port = "traffic-port"
    protocol = "HTTP"
    matcher = "200"
    interval = «s.balancer.interval»
    timeout = «s.balancer.timeout»
    healthy_threshold = «s.balancer.good»
    unhealthy_threshold = «s.balancer.bad»
  }

  lifecycle {
    create_before_destroy = true
  }
}

<% endfor %>
# Traffic. ECS or the engine writes its weights: never Terraform.
resource "aws_lb_listener_rule" "«s.label»" {
  listener_arn = aws_lb_listener.https.arn
  priority = «s.priority + 1»

  action {
    type = "forward"

    forward {
      target_group {
        arn = aws_lb_target_group.«s.label»_a.arn
        weight = 100
      }

      target_group {
        arn = aws_lb_target_group.«s.label»_b.arn
        weight = 0
      }
    }
  }

  condition {
    path_pattern {
      values = [<% for path in s.patterns %>"«path»"<% if not loop.last %>, <% endif %><% endfor %>]
    }
  }

  lifecycle {
    ignore_changes = [action]
  }
}

<% if s.native %>
# A release before its users: through CloudFront and the firewall, by a header only we know.
resource "aws_lb_listener_rule" "«s.label»_test" {
  listener_arn = aws_lb_listener.https.arn
  priority = «s.priority»

  action {
    type = "forward"

    forward {
      target_group {
        arn = aws_lb_target_group.«s.label»_b.arn
        weight = 100
      }
    }
  }

  condition {
    http_header {
      http_header_name = "X-MedEclipse-Test"
      values = [var.test_header]
    }
  }

  condition {
    path_pattern {
      values = [<% for path in s.patterns %>"«path»"<% if not loop.last %>, <% endif %><% endfor %>]
    }
  }

  lifecycle {
    ignore_changes = [action]
  }
}

<% endif %>
<% endfor %>
# One certificate for the balancer; the same records prove it for CloudFront's.
resource "aws_acm_certificate" "main" {
  domain_name = local.host
  subject_alternative_names = [local.domain, "primary.${local.domain}"]
  validation_method = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_route53_record" "certificate" {
  for_each = {
    for option in aws_acm_certificate.main.domain_validation_options : option.domain_name => option
  }

  zone_id = var.zone_id
  name = each.value.resource_record_name
  type = each.value.resource_record_type
  records = [each.value.resource_record_value]
  ttl = 300
  allow_overwrite = true
}

resource "aws_acm_certificate_validation" "main" {
  certificate_arn = aws_acm_certificate.main.arn
  validation_record_fqdns = [for record in aws_route53_record.certificate : record.fqdn]
}

# An ALB writes its log to buckets with SSE-S3 only.
resource "aws_s3_bucket" "access_logs" {
  #checkov:skip=CKV_AWS_145:an ALB cannot write to a bucket with a customer key
  #checkov:skip=CKV_AWS_144:logs, kept in the region of their data; copies are the backup's
  #checkov:skip=CKV_AWS_18:a log of the log would log itself
  #checkov:skip=CKV2_AWS_62:nobody waits for a line of a log
  bucket = "${local.name}-access-logs-${local.account}"
<% if not production %>
  force_destroy = true
<% endif %>
  object_lock_enabled = true
}

resource "aws_s3_bucket_ownership_controls" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id
  block_public_acls = true
  block_public_policy = true
  ignore_public_acls = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_versioning" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  versioning_configuration {
    status = "Enabled"
  }
}

# Nobody changes a line afterwards, for the six months the law asks for.
resource "aws_s3_bucket_object_lock_configuration" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  rule {
    default_retention {
      mode = "GOVERNANCE"
      days = 180
    }
  }

  depends_on = [aws_s3_bucket_versioning.access_logs]
}

resource "aws_s3_bucket_lifecycle_configuration" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  rule {
    id = "forget"
    status = "Enabled"

    filter {
      prefix = ""
    }

    expiration {
      days = «site.security_days»
    }

    noncurrent_version_expiration {
      noncurrent_days = 1
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  depends_on = [aws_s3_bucket_versioning.access_logs]
}

resource "aws_s3_bucket_policy" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid = "Balancer"
        Effect = "Allow"
        Principal = { Service = "logdelivery.elasticloadbalancing.amazonaws.com" }
        Action = "s3:PutObject"
        Resource = "${aws_s3_bucket.access_logs.arn}/balancer/AWSLogs/${local.account}/*"
        Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
      },
      {
        Sid = "TlsOnly"
        Effect = "Deny"
        Principal = "*"
        Action = "s3:*"
        Resource = [aws_s3_bucket.access_logs.arn, "${aws_s3_bucket.access_logs.arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })

  depends_on = [aws_s3_bucket_public_access_block.access_logs]
}
