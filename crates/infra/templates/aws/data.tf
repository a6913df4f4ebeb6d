<% if site.database %>
resource "aws_db_subnet_group" "main" {
  name = local.name
  description = "Subnets without a way out"
  subnet_ids = local.data_subnets
}

resource "aws_db_parameter_group" "main" {
  name_prefix = "${local.name}-"
  family = "postgres«site.database.version»"
  description = "TLS only, and who did what"

  parameter {
    name = "rds.force_ssl"
    value = "1"
  }

  parameter {
    name = "log_connections"
    value = "1"
  }

  parameter {
    name = "log_disconnections"
    value = "1"
  }

  parameter {
    name = "log_statement"
    value = "ddl"
  }

  # No value of a patient in a log line: neither of statements that are slow, nor of those that fail.
  parameter {
    name = "log_parameter_max_length"
    value = "0"
  }

  parameter {
    name = "log_parameter_max_length_on_error"
    value = "0"
  }

  parameter {
    name = "log_min_duration_statement"
    value = "1000"
  }

  parameter {
    name = "shared_preload_libraries"
    value = "pg_stat_statements,pgaudit"
    apply_method = "pending-reboot"
  }

  parameter {
    name = "pgaudit.log"
    value = "ddl,role"
  }

  parameter {
    name = "pgaudit.log_parameter"
    value = "0"
  }
<% if site.azure %>

  # The standby subscribes to what is committed here.
  parameter {
    name = "rds.logical_replication"
    value = "1"
    apply_method = "pending-reboot"
  }

  # A standby that is gone must not fill this disk: the slot is dropped first, and seeded again later.
  parameter {
    name = "max_slot_wal_keep_size"
    value = "20480"
  }
<% endif %>

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_db_instance" "main" {
<% if not site.database.multi_az %>
  #checkov:skip=CKV_AWS_157:a class that may wait for a restore
<% endif %>
<% if not site.database.protect %>
  #checkov:skip=CKV_AWS_293:a class whose database may be made again
<% endif %>
  identifier = local.name
  engine = "postgres"
  engine_version = "«site.database.version»"
  instance_class = "«site.database.class»"
  allocated_storage = «site.database.storage_gib»
  max_allocated_storage = «site.database.storage_max_gib»
  storage_type = "gp3"
  storage_encrypted = true
  kms_key_id = aws_kms_key.database.arn

  db_name = "«site.database.name»"
  port = «site.database.port»
  username = "«plan.project | replace("-", "_")»_admin"

  # RDS makes the password, keeps it in Secrets Manager and rotates it: it is in no variable and in no state.
  manage_master_user_password = true
  master_user_secret_kms_key_id = aws_kms_key.secrets.arn
  iam_database_authentication_enabled = true

  multi_az = «site.database.multi_az»
  publicly_accessible = false
  db_subnet_group_name = aws_db_subnet_group.main.name
  vpc_security_group_ids = [aws_security_group.database.id]
  parameter_group_name = aws_db_parameter_group.main.name
  ca_cert_identifier = "rds-ca-rsa2048-g1"

  backup_retention_period = «site.database.backup_days»
  backup_window = "«site.database.backup_window»"
  maintenance_window = "«site.database.maintenance»"
  auto_minor_version_upgrade = true
  engine_lifecycle_support = "open-source-rds-extended-support-disabled"
  copy_tags_to_snapshot = true
  delete_automated_backups = false
  deletion_protection = «site.database.protect»
  skip_final_snapshot = false
  final_snapshot_identifier = "${local.name}-final"

  performance_insights_enabled = true
  performance_insights_kms_key_id = aws_kms_key.database.arn
  monitoring_interval = 60
  monitoring_role_arn = aws_iam_role.rds_monitoring.arn
  enabled_cloudwatch_logs_exports = ["postgresql", "upgrade"]

  tags = {
    Name = "«plan.title» «site.environment | title» DB"
    Backup = "daily"
  }

  lifecycle {
<% if site.database.protect %>
    prevent_destroy = true
<% endif %>
    ignore_changes = [engine_version]
  }

  depends_on = [aws_cloudwatch_log_group.database]
}

resource "aws_iam_role" "rds_monitoring" {
  name = "${local.name}-rds-monitoring"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = "sts:AssumeRole"
      Principal = { Service = "monitoring.rds.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "rds_monitoring" {
  role = aws_iam_role.rds_monitoring.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}

<% endif %>
<% if site.cache %>
resource "aws_elasticache_subnet_group" "main" {
  name = local.name
  subnet_ids = local.data_subnets
}

resource "aws_elasticache_parameter_group" "main" {
  name = "${local.name}-«site.cache.family»"
  family = "«site.cache.family»"
  description = "What is forgotten first when memory runs out"

  parameter {
    name = "maxmemory-policy"
    value = "volatile-lru"
  }
}

resource "aws_elasticache_replication_group" "main" {
<% if site.cache.nodes < 2 %>
  #checkov:skip=CKV2_AWS_50:a class that may lose its cache
<% endif %>
  replication_group_id = local.name
  description = "Redis cluster for «plan.title» «site.environment»"
  engine = "redis"
  engine_version = "«site.cache.version»"
  node_type = "«site.cache.node»"
  num_cache_clusters = «site.cache.nodes»
  port = 6379
  parameter_group_name = aws_elasticache_parameter_group.main.name

  automatic_failover_enabled = «site.cache.nodes > 1»
  multi_az_enabled = «site.cache.nodes > 1»
  subnet_group_name = aws_elasticache_subnet_group.main.name
  security_group_ids = [aws_security_group.cache.id]

  at_rest_encryption_enabled = true
  kms_key_id = aws_kms_key.cache.arn
  transit_encryption_enabled = true
  transit_encryption_mode = "required"
  user_group_ids = [aws_elasticache_user_group.main.user_group_id]

  snapshot_retention_limit = «site.cache.snapshots»
  snapshot_window = "02:00-03:00"
  maintenance_window = "sun:05:00-sun:06:00"
  auto_minor_version_upgrade = true
  apply_immediately = false

  log_delivery_configuration {
    destination = aws_cloudwatch_log_group.cache.name
    destination_type = "cloudwatch-logs"
    log_format = "json"
    log_type = "slow-log"
  }

  tags = {
    Name = "«plan.title» «site.environment | title» Redis"
  }
}

# A group wants a user named `default`: this one may do nothing.
resource "aws_elasticache_user" "default" {
  user_id = "${local.name}-default"
  user_name = "default"
  engine = "redis"
  access_string = "off ~* -@all"

  authentication_mode {
    type = "no-password-required"
  }
}

# Its password is set by `medeclipse secrets set REDIS_URL`: Terraform has no argument for it that stays out of the state.
resource "aws_elasticache_user" "app" {
  user_id = "${local.name}-app"
  user_name = "${local.name}-app"
  engine = "redis"
  access_string = "on ~* &* +@all -@dangerous +info"

  authentication_mode {
    type = "iam"
  }

  lifecycle {
    ignore_changes = [authentication_mode, passwords]
  }
}

resource "aws_elasticache_user_group" "main" {
  user_group_id = local.name
  engine = "redis"
  user_ids = [aws_elasticache_user.default.user_id, aws_elasticache_user.app.user_id]
}
<% endif %>
