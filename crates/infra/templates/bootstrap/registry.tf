# The one registry. A tag never moves, a digest is never forgotten while a backup of its data can be restored.

resource "aws_kms_key" "registry" {
  count = local.registry ? 1 : 0
  description = "Images of ${local.project}"
  deletion_window_in_days = 30
  enable_key_rotation = true

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid = "Account"
      Effect = "Allow"
      Principal = { AWS = "arn:aws:iam::${local.account}:root" }
      Action = "kms:*"
      Resource = "*"
    }]
  })
}

resource "aws_ecr_repository" "main" {
  count = local.registry ? 1 : 0
  name = local.project
  image_tag_mutability = "IMMUTABLE"

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "KMS"
    kms_key = aws_kms_key.registry[0].arn
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_ecr_lifecycle_policy" "main" {
  count = local.registry ? 1 : 0
  repository = aws_ecr_repository.main[0].name

  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description = "Forget what was never tagged after a week; releases are tagged and stay"
      selection = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 7 }
      action = { type = "expire" }
    }]
  })
}

resource "aws_ecr_registry_scanning_configuration" "main" {
  count = local.registry ? 1 : 0
  scan_type = "ENHANCED"

  rule {
    scan_frequency = "CONTINUOUS_SCAN"

    repository_filter {
      filter = "*"
      filter_type = "WILDCARD"
    }
  }
}

# The other accounts pull from here: one digest is tested and shipped.
resource "aws_ecr_repository_policy" "main" {
  count = local.registry ? 1 : 0
  repository = aws_ecr_repository.main[0].name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid = "Pull"
      Effect = "Allow"
      Principal = { AWS = [<% for s in sites %>"arn:aws:iam::«s.account»:root"<% if not loop.last %>, <% endif %><% endfor %>] }
      Action = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability", "ecr:DescribeImages", "ecr:DescribeImageScanFindings"]
    }]
  })
}
