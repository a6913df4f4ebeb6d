# Rendered by medeclipse from medeclipse.toml. Change the manifest, or add custom_*.tf beside it.

# Containers for values, never values: `medeclipse secrets set|rotate` writes them, `medeclipse deploy` refuses an empty one.
# Each holds one plain text, so a task takes the whole secret.

resource "aws_secretsmanager_secret" "database_url" {
  #checkov:skip=CKV2_AWS_57:only the secret RDS manages rotates by itself; this one is rotated by `medeclipse secrets rotate`, which restarts the tasks that read it
  name                    = "${local.project}/${local.environment}/DATABASE_URL"
  description             = "DATABASE_URL of ${local.name}"
  kms_key_id              = aws_kms_key.secrets.arn
  recovery_window_in_days = 30
}
