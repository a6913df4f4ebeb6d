# Who accessed what is kept «site.security_days» days, six months to a year as the CNIL asks; the rest «site.debug_days».

resource "aws_cloudwatch_log_group" "app" {
  name = "/ecs/${local.name}"
  retention_in_days = «site.security_days»
  kms_key_id = aws_kms_key.logs.arn
}

resource "aws_cloudwatch_log_group" "exec" {
  name = "/ecs/${local.name}/exec"
  retention_in_days = «site.security_days»
  kms_key_id = aws_kms_key.logs.arn
}

resource "aws_cloudwatch_log_group" "flow" {
  name = "/vpc/${local.name}"
  retention_in_days = «site.security_days»
  kms_key_id = aws_kms_key.logs.arn
}

resource "aws_cloudwatch_log_group" "insights" {
  #checkov:skip=CKV_AWS_338:figures of containers, no accesses: «site.debug_days» days are enough
  name = "/aws/ecs/containerinsights/${local.name}/performance"
  retention_in_days = «site.debug_days»
  kms_key_id = aws_kms_key.logs.arn
}
<% if site.database %>

# Made before the database, which would make it without a key and for ever.
resource "aws_cloudwatch_log_group" "database" {
  name = "/aws/rds/instance/${local.name}/postgresql"
  retention_in_days = «site.security_days»
  kms_key_id = aws_kms_key.logs.arn
}

resource "aws_cloudwatch_log_group" "database_upgrade" {
  #checkov:skip=CKV_AWS_338:what an upgrade said, no accesses: «site.debug_days» days are enough
  name = "/aws/rds/instance/${local.name}/upgrade"
  retention_in_days = «site.debug_days»
  kms_key_id = aws_kms_key.logs.arn
}
<% endif %>
<% if site.cache %>

resource "aws_cloudwatch_log_group" "cache" {
  #checkov:skip=CKV_AWS_338:slow commands, no accesses: «site.debug_days» days are enough
  name = "/elasticache/${local.name}"
  retention_in_days = «site.debug_days»
  kms_key_id = aws_kms_key.logs.arn
}
<% endif %>

# A name or number of a person that slips into a line is masked before anybody reads it.
resource "aws_cloudwatch_log_data_protection_policy" "app" {
  log_group_name = aws_cloudwatch_log_group.app.name

  policy_document = jsonencode({
    Name = "${local.name}-personal-data"
    Version = "2021-06-01"
    Statement = [
      {
        Sid = "audit"
        DataIdentifier = local.personal_data
        Operation = { Audit = { FindingsDestination = {} } }
      },
      {
        Sid = "mask"
        DataIdentifier = local.personal_data
        Operation = { Deidentify = { MaskConfig = {} } }
      },
    ]
  })
}

locals {
  personal_data = [
    "arn:aws:dataprotection::aws:data-identifier/EmailAddress",
    "arn:aws:dataprotection::aws:data-identifier/InseeCode-FR",
    "arn:aws:dataprotection::aws:data-identifier/HealthInsuranceNumber-FR",
    "arn:aws:dataprotection::aws:data-identifier/BankAccountNumber-FR",
    "arn:aws:dataprotection::aws:data-identifier/PhoneNumber-FR",
  ]
}

resource "aws_sns_topic" "alerts" {
  name = "${local.name}-alerts"
  kms_master_key_id = aws_kms_key.alerts.id
}

resource "aws_sns_topic_policy" "alerts" {
  arn = aws_sns_topic.alerts.arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid = "Alarms"
      Effect = "Allow"
      Principal = { Service = "cloudwatch.amazonaws.com" }
      Action = "sns:Publish"
      Resource = aws_sns_topic.alerts.arn
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}
<% if site.email %>

resource "aws_sns_topic_subscription" "email" {
  for_each = toset([<% for address in site.email %>"«address»"<% if not loop.last %>, <% endif %><% endfor %>])
  topic_arn = aws_sns_topic.alerts.arn
  protocol = "email"
  endpoint = each.value
}
<% endif %>

resource "aws_cloudwatch_dashboard" "main" {
  dashboard_name = local.name

  dashboard_body = jsonencode({
    widgets = [
<% for s in services %>
      {
        type = "metric"
        x = 0
        y = «loop.index0 * 6»
        width = 12
        height = 6
        properties = {
          title = "«s.name»: requests and errors"
          region = local.region
          period = 60
          stat = "Sum"
          metrics = [
            ["AWS/ApplicationELB", "RequestCount", "LoadBalancer", aws_lb.main.arn_suffix],
            ["AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", "LoadBalancer", aws_lb.main.arn_suffix],
          ]
        }
      },
      {
        type = "metric"
        x = 12
        y = «loop.index0 * 6»
        width = 12
        height = 6
        properties = {
          title = "«s.name»: tasks, processor, latency"
          region = local.region
          period = 60
          metrics = [
            ["ECS/ContainerInsights", "RunningTaskCount", "ClusterName", local.name, "ServiceName", "«s.sides[0].name»"],
            ["AWS/ECS", "CPUUtilization", "ClusterName", local.name, "ServiceName", "«s.sides[0].name»"],
            ["AWS/ApplicationELB", "TargetResponseTime", "LoadBalancer", aws_lb.main.arn_suffix, { stat = "p99" }],
          ]
        }
      },
<% endfor %>
<% if site.database %>
      {
        type = "metric"
        x = 0
        y = «services | length * 6»
        width = 24
        height = 6
        properties = {
          title = "Database"
          region = local.region
          period = 60
          metrics = [
            ["AWS/RDS", "DatabaseConnections", "DBInstanceIdentifier", local.name],
            ["AWS/RDS", "CPUUtilization", "DBInstanceIdentifier", local.name],
            ["AWS/RDS", "FreeStorageSpace", "DBInstanceIdentifier", local.name],
          ]
        }
      },
<% endif %>
    ]
  })
}
