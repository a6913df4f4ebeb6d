# What users feel may stop a deployment: errors, latency, unhealthy or missing tasks. Load never does: it is no fault of a release.

<% for s in services %>
resource "aws_cloudwatch_metric_alarm" "«s.label»_http_5xx_ratio" {
  alarm_name = "«s.full»-http-5xx-ratio"
  alarm_description = "More than 1 % of the answers of «s.name» are errors"
  comparison_operator = "GreaterThanThreshold"
  threshold = 1
  evaluation_periods = 5
  datapoints_to_alarm = 3
  treat_missing_data = "notBreaching"
  alarm_actions = [aws_sns_topic.alerts.arn]
  ok_actions = [aws_sns_topic.alerts.arn]

  metric_query {
    id = "ratio"
    expression = "IF(requests > 0, 100 * errors / requests, 0)"
    label = "Errors in percent"
    return_data = true
  }

  metric_query {
    id = "errors"

    metric {
      namespace = "AWS/ApplicationELB"
      metric_name = "HTTPCode_Target_5XX_Count"
      period = 60
      stat = "Sum"
      dimensions = { LoadBalancer = aws_lb.main.arn_suffix }
    }
  }

  metric_query {
    id = "requests"

    metric {
      namespace = "AWS/ApplicationELB"
      metric_name = "RequestCount"
      period = 60
      stat = "Sum"
      dimensions = { LoadBalancer = aws_lb.main.arn_suffix }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "«s.label»_latency_p99" {
  alarm_name = "«s.full»-latency-p99"
  alarm_description = "One answer of «s.name» in a hundred takes longer than 2 s"
  namespace = "AWS/ApplicationELB"
  metric_name = "TargetResponseTime"
  extended_statistic = "p99"
  period = 60
  evaluation_periods = 5
  datapoints_to_alarm = 3
  comparison_operator = "GreaterThanThreshold"
  threshold = 2
  treat_missing_data = "notBreaching"
  dimensions = { LoadBalancer = aws_lb.main.arn_suffix }
  alarm_actions = [aws_sns_topic.alerts.arn]
  ok_actions = [aws_sns_topic.alerts.arn]
}

# Both groups together: which of the two serves changes with every release.
resource "aws_cloudwatch_metric_alarm" "«s.label»_unhealthy_hosts" {
  alarm_name = "«s.full»-unhealthy-hosts"
  alarm_description = "A task of «s.name» does not answer the balancer"
  comparison_operator = "GreaterThanThreshold"
  threshold = 0
  evaluation_periods = 3
  treat_missing_data = "notBreaching"
  alarm_actions = [aws_sns_topic.alerts.arn]
  ok_actions = [aws_sns_topic.alerts.arn]

  metric_query {
    id = "unhealthy"
    expression = "FILL(a, 0) + FILL(b, 0)"
    label = "Unhealthy tasks"
    return_data = true
  }

<% for letter in ["a", "b"] %>
  metric_query {
    id = "«letter»"

    metric {
      namespace = "AWS/ApplicationELB"
      metric_name = "UnHealthyHostCount"
      period = 60
      stat = "Maximum"
      dimensions = { LoadBalancer = aws_lb.main.arn_suffix, TargetGroup = aws_lb_target_group.«s.label»_«letter».arn_suffix }
    }
  }

<% endfor %>
}

resource "aws_cloudwatch_metric_alarm" "«s.label»_running_below_wanted" {
  alarm_name = "«s.full»-running-below-wanted"
  alarm_description = "Fewer tasks of «s.name» run than are wanted; no figure at all is as bad"
  comparison_operator = "LessThanThreshold"
  threshold = 0
  evaluation_periods = 5
  datapoints_to_alarm = 3
  treat_missing_data = "breaching"
  alarm_actions = [aws_sns_topic.alerts.arn]
  ok_actions = [aws_sns_topic.alerts.arn]

  metric_query {
    id = "missing"
    expression = "running - wanted"
    label = "Tasks beyond those wanted"
    return_data = true
  }

  metric_query {
    id = "running"

    metric {
      namespace = "ECS/ContainerInsights"
      metric_name = "RunningTaskCount"
      period = 60
      stat = "Minimum"
      dimensions = { ClusterName = local.name, ServiceName = "«s.sides[0].name»" }
    }
  }

  metric_query {
    id = "wanted"

    metric {
      namespace = "ECS/ContainerInsights"
      metric_name = "DesiredTaskCount"
      period = 60
      stat = "Minimum"
      dimensions = { ClusterName = local.name, ServiceName = "«s.sides[0].name»" }
    }
  }
}

# Load: for people and for scaling, in no deployment.
resource "aws_cloudwatch_metric_alarm" "«s.label»_cpu_utilization" {
  alarm_name = "«s.full»-high-cpu"
  alarm_description = "«s.name» is busy: scaling may be at its bounds"
  namespace = "AWS/ECS"
  metric_name = "CPUUtilization"
  statistic = "Average"
  period = 60
  evaluation_periods = 2
  comparison_operator = "GreaterThanThreshold"
  threshold = 75
  treat_missing_data = "missing"
  dimensions = { ClusterName = local.name, ServiceName = "«s.sides[0].name»" }
  alarm_actions = [aws_sns_topic.alerts.arn]
  ok_actions = [aws_sns_topic.alerts.arn]
}

resource "aws_cloudwatch_metric_alarm" "«s.label»_memory_utilization" {
  alarm_name = "«s.full»-high-memory"
  alarm_description = "«s.name» is close to its memory: the next step is being killed"
  namespace = "AWS/ECS"
  metric_name = "MemoryUtilization"
  statistic = "Maximum"
  period = 60
  evaluation_periods = 3
  comparison_operator = "GreaterThanThreshold"
  threshold = 90
  treat_missing_data = "missing"
  dimensions = { ClusterName = local.name, ServiceName = "«s.sides[0].name»" }
  alarm_actions = [aws_sns_topic.alerts.arn]
  ok_actions = [aws_sns_topic.alerts.arn]
}

<% endfor %>
<% if site.database %>
# «site.database.class» has «site.database.memory_mib or "unknown"» MiB: RDS allows «site.database.max_connections or "unknown"» connections, LEAST(memory / 9531392, 5000).
resource "aws_cloudwatch_metric_alarm" "db_connections" {
  alarm_name = "${local.name}-db-connections"
  alarm_description = "80 % of the connections the instance allows are open"
  namespace = "AWS/RDS"
  metric_name = "DatabaseConnections"
  statistic = "Average"
  period = 300
  evaluation_periods = 2
  comparison_operator = "GreaterThanThreshold"
  threshold = «db_connections»
  treat_missing_data = "missing"
  dimensions = { DBInstanceIdentifier = aws_db_instance.main.identifier }
  alarm_actions = [aws_sns_topic.alerts.arn]
  ok_actions = [aws_sns_topic.alerts.arn]
}

resource "aws_cloudwatch_metric_alarm" "db_free_storage" {
  alarm_name = "${local.name}-db-free-storage"
  alarm_description = "Less than a tenth of the first storage is free; it grows by itself, but not for ever"
  namespace = "AWS/RDS"
  metric_name = "FreeStorageSpace"
  statistic = "Minimum"
  period = 300
  evaluation_periods = 2
  comparison_operator = "LessThanThreshold"
  threshold = «site.database.storage_gib * 107374182»
  treat_missing_data = "breaching"
  dimensions = { DBInstanceIdentifier = aws_db_instance.main.identifier }
  alarm_actions = [aws_sns_topic.alerts.arn]
  ok_actions = [aws_sns_topic.alerts.arn]
}
<% if site.azure %>

resource "aws_cloudwatch_metric_alarm" "replication_lag" {
  alarm_name = "${local.name}-replication-lag"
  alarm_description = "The standby is behind by more than 64 MiB of changes"
  namespace = "AWS/RDS"
  metric_name = "OldestReplicationSlotLag"
  statistic = "Maximum"
  period = 60
  evaluation_periods = 3
  comparison_operator = "GreaterThanThreshold"
  threshold = 67108864
  treat_missing_data = "breaching"
  dimensions = { DBInstanceIdentifier = aws_db_instance.main.identifier }
  alarm_actions = [aws_sns_topic.alerts.arn]
  ok_actions = [aws_sns_topic.alerts.arn]
}
<% endif %>

<% endif %>
<% if site.cache %>
resource "aws_cloudwatch_metric_alarm" "cache_evictions" {
  alarm_name = "${local.name}-cache-evictions"
  alarm_description = "The cache forgets what was not old: sessions may be among it"
  namespace = "AWS/ElastiCache"
  metric_name = "Evictions"
  statistic = "Sum"
  period = 300
  evaluation_periods = 2
  comparison_operator = "GreaterThanThreshold"
  threshold = 0
  treat_missing_data = "notBreaching"
  dimensions = { CacheClusterId = "${local.name}-001" }
  alarm_actions = [aws_sns_topic.alerts.arn]
  ok_actions = [aws_sns_topic.alerts.arn]
}

<% endif %>
# The one that wakes somebody.
resource "aws_cloudwatch_composite_alarm" "page" {
  alarm_name = "${local.name}-page"
  alarm_description = "Users of ${local.name} are hurt"
  alarm_actions = [aws_sns_topic.alerts.arn]
  ok_actions = [aws_sns_topic.alerts.arn]

  alarm_rule = join(" OR ", [
<% for s in services %>
    "ALARM(${aws_cloudwatch_metric_alarm.«s.label»_http_5xx_ratio.alarm_name})",
    "ALARM(${aws_cloudwatch_metric_alarm.«s.label»_latency_p99.alarm_name})",
    "ALARM(${aws_cloudwatch_metric_alarm.«s.label»_running_below_wanted.alarm_name})",
<% endfor %>
  ])
}
