# One key a class of data. Whoever may read logs may not therefore read the database.

<% for k in keys %>
resource "aws_kms_key" "«k.label»" {
<% if k.region %>
  provider = aws.us_east_1

<% endif %>
  description = "«k.description» of ${local.name}"
  deletion_window_in_days = 30
  enable_key_rotation = true

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid = "Account"
        Effect = "Allow"
        Principal = { AWS = "arn:aws:iam::${local.account}:root" }
        Action = "kms:*"
        Resource = "*"
      },
<% if k.logs %>
      {
        Sid = "Logs"
        Effect = "Allow"
        Principal = { Service = "logs.«k.region or site.region».amazonaws.com" }
        Action = ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"]
        Resource = "*"
        Condition = {
          ArnLike = { "kms:EncryptionContext:aws:logs:arn" = "arn:aws:logs:«k.region or site.region»:${local.account}:log-group:*" }
        }
      },
<% endif %>
<% if k.alarms %>
      {
        Sid = "Alarms"
        Effect = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action = ["kms:Decrypt", "kms:GenerateDataKey*"]
        Resource = "*"
        Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
      },
<% endif %>
<% if k.fargate %>
      {
        Sid = "FargateDataKey"
        Effect = "Allow"
        Principal = { Service = "fargate.amazonaws.com" }
        Action = "kms:GenerateDataKeyWithoutPlaintext"
        Resource = "*"
        Condition = { StringEquals = { "kms:EncryptionContext:aws:ecs:clusterAccount" = local.account, "kms:EncryptionContext:aws:ecs:clusterName" = local.name } }
      },
      {
        Sid = "FargateGrant"
        Effect = "Allow"
        Principal = { Service = "fargate.amazonaws.com" }
        Action = "kms:CreateGrant"
        Resource = "*"
        Condition = {
          StringEquals = { "kms:EncryptionContext:aws:ecs:clusterAccount" = local.account, "kms:EncryptionContext:aws:ecs:clusterName" = local.name }
          "ForAllValues:StringEquals" = { "kms:GrantOperations" = ["Decrypt"] }
        }
      },
<% endif %>
    ]
  })
}

resource "aws_kms_alias" "«k.label»" {
<% if k.region %>
  provider = aws.us_east_1

<% endif %>
  name = "alias/${local.name}-«k.alias»"
  target_key_id = aws_kms_key.«k.label».key_id
}

<% endfor %>
