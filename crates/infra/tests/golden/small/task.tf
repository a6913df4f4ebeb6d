resource "aws_ecs_task_definition" "web" {
  family                   = "shop-web-production"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = "512"
  memory                   = "1024"
  execution_role_arn       = aws_iam_role.web_execution.arn
  task_role_arn            = aws_iam_role.web_task.arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = "X86_64"
  }

  container_definitions = jsonencode([
    {
      name                   = "web"
      image                  = var.image_web
      essential              = true
      command                = ["./shop"]
      user                   = "1001:1001"
      readonlyRootFilesystem = true
      stopTimeout            = 120

      linuxParameters = {
        initProcessEnabled = true
        capabilities       = { drop = ["ALL"] }
      }

      portMappings = [
        { name = "web", containerPort = 3000, protocol = "tcp" },
      ]

      environment = [
        { name = "HOST", value = "0.0.0.0" },
        { name = "PORT", value = "3000" },
      ]

      secrets = [
        { name = "DATABASE_URL", valueFrom = aws_secretsmanager_secret.database_url.arn },
      ]

      healthCheck = {
        command     = ["CMD", "./shop", "probe"]
        interval    = 30
        timeout     = 10
        startPeriod = 60
        retries     = 3
      }

      mountPoints = [
        { sourceVolume = "tmp", containerPath = "/tmp", readOnly = false },
      ]

      logConfiguration = {
        logDriver = "awslogs"
        options = {
          awslogs-group         = aws_cloudwatch_log_group.app.name
          awslogs-region        = local.region
          awslogs-stream-prefix = "ecs"
          mode                  = "non-blocking"
          max-buffer-size       = "4m"
        }
      }
    },
  ])

  volume {
    name = "tmp"
  }
}
