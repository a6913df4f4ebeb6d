# The pipeline proves who it is by a token of GitHub: no key lives anywhere. Pushing an image and deploying are two roles.
<% if plan.github %>

resource "aws_iam_openid_connect_provider" "github" {
  url = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_role" "deploy" {
  name = "${local.project}-deploy-${var.environment}"
  max_session_duration = 7200

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = aws_iam_openid_connect_provider.github.arn }
      Condition = {
        StringEquals = {
          "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
          "token.actions.githubusercontent.com:sub" = "repo:«plan.github.repository»:environment:${var.environment}"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "deploy" {
  #checkov:skip=CKV_AWS_290:RegisterTaskDefinition and the Describe calls know no narrower resource than the region; the roles it may pass are named
  #checkov:skip=CKV_AWS_355:the same
  #checkov:skip=CKV_AWS_289:PassRole names its roles and ecs-tasks
  name = "deploy"
  role = aws_iam_role.deploy.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid = "Releases"
        Effect = "Allow"
        Action = ["ecs:RegisterTaskDefinition", "ecs:DescribeTaskDefinition", "ecs:DeregisterTaskDefinition"]
        Resource = "*"
        Condition = { StringEquals = { "aws:RequestedRegion" = local.region } }
      },
      {
        Sid = "Services"
        Effect = "Allow"
        Action = [
          "ecs:UpdateService", "ecs:DescribeServices", "ecs:ListServiceDeployments", "ecs:DescribeServiceDeployments",
          "ecs:DescribeServiceRevisions", "ecs:StopServiceDeployment", "ecs:ContinueServiceDeployment", "ecs:TagResource",
        ]
        Resource = [
          "arn:aws:ecs:${local.region}:${local.account}:service/${local.name}/*",
          "arn:aws:ecs:${local.region}:${local.account}:service-deployment/${local.name}/*",
          "arn:aws:ecs:${local.region}:${local.account}:service-revision/${local.name}/*",
          "arn:aws:ecs:${local.region}:${local.account}:task-definition/${local.project}-*-${var.environment}:*",
        ]
      },
      {
        Sid = "Migrations"
        Effect = "Allow"
        Action = ["ecs:RunTask", "ecs:DescribeTasks", "ecs:StopTask"]
        Resource = [
          "arn:aws:ecs:${local.region}:${local.account}:task/${local.name}/*",
          "arn:aws:ecs:${local.region}:${local.account}:task-definition/${local.project}-*-${var.environment}:*",
        ]
      },
      {
        Sid = "Traffic"
        Effect = "Allow"
        Action = "elasticloadbalancing:ModifyRule"
        Resource = "arn:aws:elasticloadbalancing:${local.region}:${local.account}:listener-rule/app/${local.name}/*"
      },
      {
        Sid = "Look"
        Effect = "Allow"
        Action = [
          "elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeTargetHealth", "cloudwatch:DescribeAlarms",
          "cloudwatch:GetMetricData", "application-autoscaling:DescribeScalableTargets", "rds:DescribeDBSnapshots",
        ]
        Resource = "*"
        Condition = { StringEquals = { "aws:RequestedRegion" = local.region } }
      },
      {
        Sid = "Scaling"
        Effect = "Allow"
        Action = "application-autoscaling:RegisterScalableTarget"
        Resource = "arn:aws:application-autoscaling:${local.region}:${local.account}:scalable-target/*"
      },
      {
        Sid = "Snapshot"
        Effect = "Allow"
        Action = ["rds:CreateDBSnapshot", "rds:AddTagsToResource"]
        Resource = [
          "arn:aws:rds:${local.region}:${local.account}:db:${local.name}",
          "arn:aws:rds:${local.region}:${local.account}:snapshot:${local.name}-*",
        ]
      },
      {
        Sid = "Digest"
        Effect = "Allow"
        Action = ["ecr:BatchGetImage", "ecr:DescribeImages", "ecr:DescribeImageScanFindings"]
        Resource = "arn:aws:ecr:«registry.region»:«registry.account»:repository/${local.project}"
      },
      {
        Sid = "PassRoles"
        Effect = "Allow"
        Action = "iam:PassRole"
        Resource = [
          "arn:aws:iam::${local.account}:role/${local.project}-*-${var.environment}-execution",
          "arn:aws:iam::${local.account}:role/${local.project}-*-${var.environment}-task",
        ]
        Condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }
      },
    ]
  })
}

# Only where the registry is; builds run in the environment `build`, without approval and without any right to deploy.
resource "aws_iam_role" "push" {
  count = local.registry ? 1 : 0
  name = "${local.project}-push"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = aws_iam_openid_connect_provider.github.arn }
      Condition = {
        StringEquals = {
          "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
          "token.actions.githubusercontent.com:sub" = "repo:«plan.github.repository»:environment:build"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "push" {
  count = local.registry ? 1 : 0
  name = "push"
  role = aws_iam_role.push[0].id

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
        Sid = "Push"
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability", "ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload",
          "ecr:PutImage", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer",
        ]
        Resource = "arn:aws:ecr:«registry.region»:«registry.account»:repository/${local.project}"
      },
    ]
  })
}
<% endif %>

# Somebody who guesses passwords of people with a console finds long ones.
resource "aws_iam_account_password_policy" "main" {
  minimum_password_length = 16
  require_lowercase_characters = true
  require_uppercase_characters = true
  require_numbers = true
  require_symbols = true
  password_reuse_prevention = 24
  max_password_age = 90
  allow_users_to_change_password = true
}

resource "aws_s3_account_public_access_block" "main" {
  block_public_acls = true
  block_public_policy = true
  ignore_public_acls = true
  restrict_public_buckets = true
}

resource "aws_ebs_encryption_by_default" "main" {
  enabled = true
}
