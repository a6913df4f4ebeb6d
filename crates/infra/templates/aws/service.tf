# Terraform owns the shape, the engine owns releases and traffic: what it changes is ignored here, or an apply would move users back.

resource "aws_ecs_cluster" "main" {
  name = local.name

  setting {
    name = "containerInsights"
    value = "enabled"
  }

  configuration {
    execute_command_configuration {
      logging = "OVERRIDE"
      kms_key_id = aws_kms_key.logs.arn

      log_configuration {
        cloud_watch_encryption_enabled = true
        cloud_watch_log_group_name = aws_cloudwatch_log_group.exec.name
      }
    }

    managed_storage_configuration {
      fargate_ephemeral_storage_kms_key_id = aws_kms_key.tasks.arn
    }
  }
}

resource "aws_ecs_cluster_capacity_providers" "main" {
  cluster_name = aws_ecs_cluster.main.name
  capacity_providers = ["FARGATE"]
}

<% for s in services %>
resource "aws_ecs_task_definition" "«s.label»" {
  family = "«s.full»"
  requires_compatibilities = ["FARGATE"]
  network_mode = "awsvpc"
  cpu = "«s.cpu»"
  memory = "«s.memory_mib»"
  execution_role_arn = aws_iam_role.«s.label»_execution.arn
  task_role_arn = aws_iam_role.«s.label»_task.arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture = "X86_64"
  }

  container_definitions = jsonencode([
    {
      name = "«s.name»"
      image = var.image_«s.label»
      essential = true
      command = [<% for word in s.command %>«word | hcl»<% if not loop.last %>, <% endif %><% endfor %>]
      user = "«s.user[0]»:«s.user[1]»"
      readonlyRootFilesystem = true
      stopTimeout = «s.stop_seconds»

      linuxParameters = {
        initProcessEnabled = true
        capabilities = { drop = ["ALL"] }
      }

      portMappings = [
        { name = "«s.name»", containerPort = «s.port», protocol = "tcp" },
      ]

      environment = [
        { name = "HOST", value = "0.0.0.0" },
        { name = "PORT", value = "«s.port»" },
<% for name, value in s.env | pairs %>
        { name = "«name»", value = «value | hcl» },
<% endfor %>
      ]

      secrets = [
<% for key in s.secrets %>
        { name = "«key»", valueFrom = aws_secretsmanager_secret.«key | lower».arn },
<% endfor %>
      ]
<% if s.liveness %>

      healthCheck = {
        command = ["CMD"<% for word in s.probe %>, «word | hcl»<% endfor %>]
        interval = «s.liveness.interval»
        timeout = «s.liveness.timeout»
        startPeriod = «s.liveness.start»
        retries = «s.liveness.bad»
      }
<% endif %>

      mountPoints = [
        { sourceVolume = "tmp", containerPath = "/tmp", readOnly = false },
      ]

      logConfiguration = {
        logDriver = "awslogs"
        options = {
          awslogs-group = aws_cloudwatch_log_group.app.name
          awslogs-region = local.region
          awslogs-stream-prefix = "ecs"
          mode = "non-blocking"
          max-buffer-size = "4m"
        }
      }
    },
  ])

  volume {
    name = "tmp"
  }
}

<% for side in s.sides %>
resource "aws_ecs_service" "«side.label»" {
  name = "«side.name»"
  cluster = aws_ecs_cluster.main.id
  task_definition = aws_ecs_task_definition.«s.label».arn
  launch_type = "FARGATE"
  platform_version = "LATEST"
  desired_count = «s.min»
  availability_zone_rebalancing = "ENABLED"
  enable_execute_command = «site.exec»
  enable_ecs_managed_tags = true
  propagate_tags = "SERVICE"
  health_check_grace_period_seconds = «grace»
  wait_for_steady_state = false

  network_configuration {
    subnets = local.private_subnets
    security_groups = [aws_security_group.«s.label».id]
    assign_public_ip = false
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.«s.label»_«side.letter».arn
    container_name = "«s.name»"
    container_port = «s.port»
<% if s.native %>

    advanced_configuration {
      alternate_target_group_arn = aws_lb_target_group.«s.label»_b.arn
      production_listener_rule = aws_lb_listener_rule.«s.label».arn
      test_listener_rule = aws_lb_listener_rule.«s.label»_test.arn
      role_arn = aws_iam_role.traffic.arn
    }
<% endif %>
  }
<% if s.native %>

  deployment_configuration {
    strategy = "«s.traffic.strategy»"
    bake_time_in_minutes = "«s.bake_minutes»"
<% if s.traffic.strategy == "CANARY" %>

    canary_configuration {
      canary_percent = «s.traffic.percent»
      canary_bake_time_in_minutes = "«s.traffic.minutes»"
    }
<% elif s.traffic.strategy == "LINEAR" %>

    linear_configuration {
      step_percent = «s.traffic.percent»
      step_bake_time_in_minutes = "«s.traffic.minutes»"
    }
<% endif %>
  }

  # The circuit breaker belongs to rolling updates; with two revisions side by side these alarms decide.
  alarms {
    enable = true
    rollback = true
    alarm_names = [
      aws_cloudwatch_metric_alarm.«s.label»_http_5xx_ratio.alarm_name,
      aws_cloudwatch_metric_alarm.«s.label»_latency_p99.alarm_name,
      aws_cloudwatch_metric_alarm.«s.label»_unhealthy_hosts.alarm_name,
      aws_cloudwatch_metric_alarm.«s.label»_running_below_wanted.alarm_name,
    ]
  }
<% else %>

  deployment_circuit_breaker {
    enable = true
    rollback = true
  }
<% endif %>

  tags = {
    Name = "«side.name»"
  }

  lifecycle {
    ignore_changes = [task_definition, load_balancer, desired_count, deployment_configuration]
  }

  depends_on = [aws_lb_listener.https]
}

resource "aws_appautoscaling_target" "«side.label»" {
  service_namespace = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id = "service/${aws_ecs_cluster.main.name}/${aws_ecs_service.«side.label».name}"
  min_capacity = «s.min»
  max_capacity = «s.max»

  # The engine suspends scaling in while traffic moves.
  lifecycle {
    ignore_changes = [suspended_state]
  }
}

resource "aws_appautoscaling_policy" "«side.label»_cpu" {
  name = "«side.name»-cpu"
  policy_type = "TargetTrackingScaling"
  service_namespace = aws_appautoscaling_target.«side.label».service_namespace
  scalable_dimension = aws_appautoscaling_target.«side.label».scalable_dimension
  resource_id = aws_appautoscaling_target.«side.label».resource_id

  target_tracking_scaling_policy_configuration {
    target_value = «s.target_cpu»
    scale_out_cooldown = 60
    scale_in_cooldown = 300

    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
  }
}

<% endfor %>
# Starts the task: pulls the image, reads its secrets, opens its log. Nothing else.
resource "aws_iam_role" "«s.label»_execution" {
  name = "«s.full»-execution"
  assume_role_policy = local.tasks_may_assume
}

resource "aws_iam_role_policy" "«s.label»_execution" {
  name = "start"
  role = aws_iam_role.«s.label»_execution.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid = "Token"
        Effect = "Allow"
        Action = "ecr:GetAuthorizationToken"
        Resource = "*"
      },
      {
        Sid = "Pull"
        Effect = "Allow"
        Action = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"]
        Resource = "arn:aws:ecr:«registry.region»:«registry.account»:repository/${local.project}"
      },
      {
        Sid = "Log"
        Effect = "Allow"
        Action = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.app.arn}:*"
      },
<% if s.secrets %>
      {
        Sid = "Secrets"
        Effect = "Allow"
        Action = "secretsmanager:GetSecretValue"
        Resource = [<% for key in s.secrets %>aws_secretsmanager_secret.«key | lower».arn<% if not loop.last %>, <% endif %><% endfor %>]
      },
      {
        Sid = "SecretsKey"
        Effect = "Allow"
        Action = "kms:Decrypt"
        Resource = aws_kms_key.secrets.arn
        Condition = { StringEquals = { "kms:ViaService" = "secretsmanager.${local.region}.amazonaws.com" } }
      },
<% endif %>
    ]
  })
}

# What the program itself may do: nothing, until it needs something.
resource "aws_iam_role" "«s.label»_task" {
  name = "«s.full»-task"
  assume_role_policy = local.tasks_may_assume
}
<% if site.exec %>

resource "aws_iam_role_policy" "«s.label»_exec" {
  name = "exec"
  role = aws_iam_role.«s.label»_task.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = ["ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"]
      Resource = "*"
    }]
  })
}
<% endif %>

<% endfor %>
locals {
  tasks_may_assume = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike = { "aws:SourceArn" = "arn:aws:ecs:${local.region}:${local.account}:*" }
      }
    }]
  })
}
<% if native %>

# ECS itself moves the weights of the listener's rules.
resource "aws_iam_role" "traffic" {
  name = "${local.name}-traffic"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = "sts:AssumeRole"
      Principal = { Service = "ecs.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "traffic" {
  role = aws_iam_role.traffic.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonECSInfrastructureRolePolicyForLoadBalancers"
}
<% endif %>
