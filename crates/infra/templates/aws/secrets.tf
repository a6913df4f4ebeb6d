# Containers for values, never values: `medeclipse secrets set|rotate` writes them, `medeclipse deploy` refuses an empty one.
# Each holds one plain text, so a task takes the whole secret.

<% for key in secret_keys %>
resource "aws_secretsmanager_secret" "«key | lower»" {
  #checkov:skip=CKV2_AWS_57:only the secret RDS manages rotates by itself; this one is rotated by `medeclipse secrets rotate`, which restarts the tasks that read it
  name = "${local.project}/${local.environment}/«key»"
  description = "«key» of ${local.name}"
  kms_key_id = aws_kms_key.secrets.arn
  recovery_window_in_days = 30
}

<% endfor %>
