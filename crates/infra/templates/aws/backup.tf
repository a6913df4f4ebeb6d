# Nobody, the owner of the account included, deletes a copy before its time.

resource "aws_backup_vault" "main" {
  name = local.name
  kms_key_arn = aws_kms_key.backup.arn
}
<% if production %>

resource "aws_backup_vault_lock_configuration" "main" {
  backup_vault_name = aws_backup_vault.main.name
  min_retention_days = «site.backup.min_days»
  max_retention_days = «site.backup.max_days»
  changeable_for_days = «site.backup.grace_days»
}
<% endif %>
<% if site.backup.account and production %>

resource "aws_kms_key" "copies" {
  provider = aws.backup

  description = "Copies of backups of ${local.name}"
  deletion_window_in_days = 30
  enable_key_rotation = true

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid = "Account"
        Effect = "Allow"
        Principal = { AWS = "arn:aws:iam::«site.backup.account»:root" }
        Action = "kms:*"
        Resource = "*"
      },
      {
        Sid = "Copy"
        Effect = "Allow"
        Principal = { AWS = aws_iam_role.backup.arn }
        Action = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey", "kms:DescribeKey", "kms:CreateGrant"]
        Resource = "*"
      },
    ]
  })
}

resource "aws_backup_vault" "copies" {
  provider = aws.backup

  name = "${local.name}-copies"
  kms_key_arn = aws_kms_key.copies.arn
}

resource "aws_backup_vault_lock_configuration" "copies" {
  provider = aws.backup

  backup_vault_name = aws_backup_vault.copies.name
  min_retention_days = «site.backup.min_days»
  max_retention_days = «site.backup.max_days»
  changeable_for_days = «site.backup.grace_days»
}

resource "aws_backup_vault_policy" "copies" {
  provider = aws.backup

  backup_vault_name = aws_backup_vault.copies.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid = "CopyInto"
      Effect = "Allow"
      Principal = { AWS = "arn:aws:iam::${local.account}:root" }
      Action = "backup:CopyIntoBackupVault"
      Resource = aws_backup_vault.copies.arn
    }]
  })
}
<% endif %>

resource "aws_backup_plan" "main" {
  name = local.name

  rule {
    rule_name = "daily"
    target_vault_name = aws_backup_vault.main.name
    schedule = "cron(0 5 * * ? *)"
    start_window = 60
    completion_window = 300

    lifecycle {
      delete_after = «backup_days»
    }
<% if site.backup.account and production %>

    copy_action {
      destination_vault_arn = aws_backup_vault.copies.arn

      lifecycle {
        delete_after = «backup_days»
      }
    }
<% endif %>
  }
}

resource "aws_backup_selection" "main" {
  name = local.name
  plan_id = aws_backup_plan.main.id
  iam_role_arn = aws_iam_role.backup.arn
  resources = [aws_db_instance.main.arn]
}

resource "aws_iam_role" "backup" {
  name = "${local.name}-backup"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = "sts:AssumeRole"
      Principal = { Service = "backup.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "backup" {
  role = aws_iam_role.backup.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForBackup"
}
<% if site.backup.restore_test != "off" %>

resource "aws_iam_role_policy_attachment" "restore" {
  role = aws_iam_role.backup.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForRestores"
}

# A backup nobody has restored is a hope. The engine asks the restored database, and tells AWS Backup what it found.
resource "aws_backup_restore_testing_plan" "main" {
  name = "«site.full | replace("-", "_")»_restore"
  schedule_expression = "<% if site.backup.restore_test == "weekly" %>cron(0 7 ? * SUN *)<% else %>cron(0 7 1 * ? *)<% endif %>"
  schedule_expression_timezone = "Europe/Paris"
  start_window_hours = 1

  recovery_point_selection {
    algorithm = "LATEST_WITHIN_WINDOW"
    include_vaults = [aws_backup_vault.main.arn]
    recovery_point_types = ["SNAPSHOT"]
    selection_window_days = 7
  }
}

resource "aws_backup_restore_testing_selection" "database" {
  name = "database"
  restore_testing_plan_name = aws_backup_restore_testing_plan.main.name
  iam_role_arn = aws_iam_role.backup.arn
  protected_resource_type = "RDS"
  protected_resource_arns = [aws_db_instance.main.arn]
  validation_window_hours = 4

  restore_metadata_overrides = {
    dbSubnetGroupName = aws_db_subnet_group.main.name
    vpcSecurityGroupIds = jsonencode([aws_security_group.database.id])
    multiAz = "false"
    publiclyAccessible = "false"
  }
}
<% endif %>
