resource "aws_ecs_service" "web" {
  name                              = "shop-web-production"
  cluster                           = aws_ecs_cluster.main.id
  task_definition                   = aws_ecs_task_definition.web.arn
  launch_type                       = "FARGATE"
  platform_version                  = "LATEST"
  desired_count                     = 3
  availability_zone_rebalancing     = "ENABLED"
  enable_execute_command            = false
  enable_ecs_managed_tags           = true
  propagate_tags                    = "SERVICE"
  health_check_grace_period_seconds = 60
  wait_for_steady_state             = false

  network_configuration {
    subnets          = local.private_subnets
    security_groups  = [aws_security_group.web.id]
    assign_public_ip = false
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.web_a.arn
    container_name   = "web"
    container_port   = 3000

    advanced_configuration {
      alternate_target_group_arn = aws_lb_target_group.web_b.arn
      production_listener_rule   = aws_lb_listener_rule.web.arn
      test_listener_rule         = aws_lb_listener_rule.web_test.arn
      role_arn                   = aws_iam_role.traffic.arn
    }
  }

  deployment_configuration {
    strategy             = "BLUE_GREEN"
    bake_time_in_minutes = "10"
  }

  # The circuit breaker belongs to rolling updates; with two revisions side by side these alarms decide.
  alarms {
    enable   = true
    rollback = true
    alarm_names = [
      aws_cloudwatch_metric_alarm.web_http_5xx_ratio.alarm_name,
      aws_cloudwatch_metric_alarm.web_latency_p99.alarm_name,
      aws_cloudwatch_metric_alarm.web_unhealthy_hosts.alarm_name,
      aws_cloudwatch_metric_alarm.web_running_below_wanted.alarm_name,
    ]
  }

  tags = {
    Name = "shop-web-production"
  }

  lifecycle {
    ignore_changes = [task_definition, load_balancer, desired_count, deployment_configuration]
  }

  depends_on = [aws_lb_listener.https]
}
