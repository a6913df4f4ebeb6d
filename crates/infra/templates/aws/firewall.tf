# Health paths first: checkers of Route 53 and runners of pipelines come from anywhere, and a block there would be a false failover.
<% if site.allow_ips %>

<% for name, ranges in site.allow_ips | pairs %>
resource "aws_wafv2_ip_set" "«name | replace("-", "_")»" {
<% if cloudfront %>
  provider = aws.us_east_1

<% endif %>
  name = "${local.name}-«name»"
  scope = "«scope»"
  ip_address_version = "IPV4"
  addresses = [<% for range in ranges %>"«range»"<% if not loop.last %>, <% endif %><% endfor %>]
}

<% endfor %>
<% endif %>
resource "aws_wafv2_web_acl" "main" {
<% if cloudfront %>
  provider = aws.us_east_1

<% endif %>
  name = local.name
  description = "What reaches ${local.name}"
  scope = "«scope»"

  default_action {
    allow {}
  }

  rule {
    name = "HealthPaths"
    priority = 0

    action {
      allow {}
    }

    statement {
      byte_match_statement {
        search_string = "«health_prefix»"
        positional_constraint = "STARTS_WITH"

        field_to_match {
          uri_path {}
        }

        text_transformation {
          priority = 0
          type = "NONE"
        }
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name = "healthPathsMetric"
      sampled_requests_enabled = false
    }
  }

<% if site.allow_ips %>
  # Many people behind one address: a limit of their own, ten times higher.
<% for name, ranges in site.allow_ips | pairs %>
  rule {
    name = "Rate-«name»"
    priority = «loop.index»

    action {
      block {
        custom_response {
          response_code = 429
        }
      }
    }

    statement {
      rate_based_statement {
        limit = 20000
        evaluation_window_sec = 300
        aggregate_key_type = "IP"

        scope_down_statement {
          ip_set_reference_statement {
            arn = aws_wafv2_ip_set.«name | replace("-", "_")».arn
          }
        }
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name = "rate«loop.index»Metric"
      sampled_requests_enabled = false
    }
  }

<% endfor %>
<% endif %>
  # Everybody, not only clients of some countries.
  rule {
    name = "RateLimitRule"
    priority = 20

    action {
      block {
        custom_response {
          response_code = 429
        }
      }
    }

    statement {
      rate_based_statement {
        limit = 2000
        evaluation_window_sec = 300
        aggregate_key_type = "IP"
<% if site.allow_ips %>

        scope_down_statement {
          not_statement {
            statement {
<% if site.allow_ips | length > 1 %>
              or_statement {
<% for name, ranges in site.allow_ips | pairs %>
                statement {
                  ip_set_reference_statement {
                    arn = aws_wafv2_ip_set.«name | replace("-", "_")».arn
                  }
                }

<% endfor %>
              }
<% else %>
<% for name, ranges in site.allow_ips | pairs %>
              ip_set_reference_statement {
                arn = aws_wafv2_ip_set.«name | replace("-", "_")».arn
              }
<% endfor %>
<% endif %>
            }
          }
        }
<% endif %>
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name = "rateLimitMetric"
      sampled_requests_enabled = false
    }
  }

  rule {
    name = "LoginRateRule"
    priority = 21

    action {
      block {
        custom_response {
          response_code = 429
        }
      }
    }

    statement {
      rate_based_statement {
        limit = 100
        evaluation_window_sec = 300
        aggregate_key_type = "CUSTOM_KEYS"

        custom_key {
          ip {}
        }

        custom_key {
          uri_path {
            text_transformation {
              priority = 0
              type = "NONE"
            }
          }
        }

        scope_down_statement {
          byte_match_statement {
            search_string = "/api/auth/"
            positional_constraint = "STARTS_WITH"

            field_to_match {
              uri_path {}
            }

            text_transformation {
              priority = 0
              type = "NONE"
            }
          }
        }
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name = "loginRateMetric"
      sampled_requests_enabled = false
    }
  }

  # Elsewhere is no crime: a browser passes, a script does not.
  rule {
    name = "OtherCountries"
    priority = 30

    action {
      challenge {}
    }

    statement {
      not_statement {
        statement {
          geo_match_statement {
            country_codes = ["FR", "BE", "CH", "LU", "MC", "GP", "MQ", "GF", "RE", "YT", "PM", "BL", "MF", "WF", "PF", "NC"]
          }
        }
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name = "otherCountriesMetric"
      sampled_requests_enabled = false
    }
  }

  rule {
    name = "AWS-AWSManagedRulesCommonRuleSet"
    priority = 40

    override_action {
      none {}
    }

    statement {
      managed_rule_group_statement {
        name = "AWSManagedRulesCommonRuleSet"
        vendor_name = "AWS"

        # It blocks every body above 8 KiB: the rule BodySize does so with the paths that take documents left out.
        rule_action_override {
          name = "SizeRestrictions_BODY"

          action_to_use {
            count {}
          }
        }
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name = "commonRuleSetMetric"
      sampled_requests_enabled = false
    }
  }

  rule {
    name = "BodySize"
    priority = 41

    action {
      block {
        custom_response {
          response_code = 413
        }
      }
    }

    statement {
<% if site.uploads %>
      and_statement {
        statement {
          size_constraint_statement {
            comparison_operator = "GT"
            size = 8192

            field_to_match {
              body {
                oversize_handling = "MATCH"
              }
            }

            text_transformation {
              priority = 0
              type = "NONE"
            }
          }
        }

<% for path in site.uploads %>
        statement {
          not_statement {
            statement {
              byte_match_statement {
                search_string = "«path»"
                positional_constraint = "STARTS_WITH"

                field_to_match {
                  uri_path {}
                }

                text_transformation {
                  priority = 0
                  type = "NONE"
                }
              }
            }
          }
        }

<% endfor %>
      }
<% else %>
      size_constraint_statement {
        comparison_operator = "GT"
        size = 8192

        field_to_match {
          body {
            oversize_handling = "MATCH"
          }
        }

        text_transformation {
          priority = 0
          type = "NONE"
        }
      }
<% endif %>
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name = "bodySizeMetric"
      sampled_requests_enabled = false
    }
  }

<% for group in ["KnownBadInputsRuleSet", "SQLiRuleSet", "AmazonIpReputationList"] %>
  rule {
    name = "AWS-AWSManagedRules«group»"
    priority = «41 + loop.index»

    override_action {
      none {}
    }

    statement {
      managed_rule_group_statement {
        name = "AWSManagedRules«group»"
        vendor_name = "AWS"
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name = "«group[0] | lower»«group[1:]»Metric"
      sampled_requests_enabled = false
    }
  }

<% endfor %>
<% if site.bots != "off" %>
  # «"Counts first: mobile applications and partners are no browsers." if site.bots == "count" else "Enforced."»
  rule {
    name = "AWS-AWSManagedRulesBotControlRuleSet"
    priority = 50

    override_action {
<% if site.bots == "count" %>
      count {}
<% else %>
      none {}
<% endif %>
    }

    statement {
      managed_rule_group_statement {
        name = "AWSManagedRulesBotControlRuleSet"
        vendor_name = "AWS"

        managed_rule_group_configs {
          aws_managed_rules_bot_control_rule_set {
            inspection_level = "COMMON"
          }
        }

        scope_down_statement {
          not_statement {
            statement {
              byte_match_statement {
                search_string = "«health_prefix»"
                positional_constraint = "STARTS_WITH"

                field_to_match {
                  uri_path {}
                }

                text_transformation {
                  priority = 0
                  type = "NONE"
                }
              }
            }
          }
        }
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name = "botControlMetric"
      sampled_requests_enabled = false
    }
  }

<% endif %>
  # Samples hold requests as they came: off, like every trace of a query.
  visibility_config {
    cloudwatch_metrics_enabled = true
    metric_name = "webAclMetric"
    sampled_requests_enabled = false
  }
}
<% if not cloudfront %>

resource "aws_wafv2_web_acl_association" "main" {
  resource_arn = aws_lb.main.arn
  web_acl_arn = aws_wafv2_web_acl.main.arn
}
<% endif %>

resource "aws_cloudwatch_log_group" "firewall" {
<% if cloudfront %>
  provider = aws.us_east_1

<% endif %>
  name = "aws-waf-logs-${local.name}"
  retention_in_days = «site.security_days»
  kms_key_id = aws_kms_key.<% if cloudfront %>edge_logs<% else %>logs<% endif %>.arn
}

# Written outside the region where CloudFront stands: without queries, cookies and tokens it holds nothing of a patient.
resource "aws_wafv2_web_acl_logging_configuration" "main" {
<% if cloudfront %>
  provider = aws.us_east_1

<% endif %>
  resource_arn = aws_wafv2_web_acl.main.arn
  log_destination_configs = [aws_cloudwatch_log_group.firewall.arn]

  redacted_fields {
    uri_path {}
  }

  redacted_fields {
    query_string {}
  }

  redacted_fields {
    single_header {
      name = "authorization"
    }
  }

  redacted_fields {
    single_header {
      name = "cookie"
    }
  }
}
