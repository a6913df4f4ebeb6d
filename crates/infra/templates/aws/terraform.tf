terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      version = "~> 6.25"
    }
  }

  # One state an environment. The lock is an object beside it: no table of locks.
  backend "s3" {
    bucket = "«site.state.bucket»"
    key = "«site.state.key»"
    region = "«site.region»"
    encrypt = true
    kms_key_id = "alias/«plan.project»-terraform-state"
    use_lockfile = true
    allowed_account_ids = ["«site.account»"]
  }
}

provider "aws" {
  region = local.region
  allowed_account_ids = [local.account]

  default_tags {
    tags = local.tags
  }
}
<% if site.cdn == "cloudfront" %>

# CloudFront takes its certificate and its firewall from here only. Neither holds data.
provider "aws" {
  alias = "us_east_1"
  region = "us-east-1"
  allowed_account_ids = [local.account]

  default_tags {
    tags = local.tags
  }
}
<% endif %>
<% if site.backup.account and production %>

# The account that keeps copies of the backups.
provider "aws" {
  alias = "backup"
  region = "«site.backup.region»"
  allowed_account_ids = ["«site.backup.account»"]

  assume_role {
    role_arn = "arn:aws:iam::«site.backup.account»:role/«plan.project»-backup"
  }

  default_tags {
    tags = local.tags
  }
}
<% endif %>

locals {
  project = "«plan.project»"
  environment = "«site.environment»"
  name = "«site.full»"
  region = "«site.region»"
  account = "«site.account»"
  domain = <% if plan.domain %>"<% if not production %>«site.environment».<% endif %>«plan.domain»"<% else %>var.domain<% endif %>

  host = "app.${local.domain}"

  tags = {
    Project = "«plan.title»"
    Environment = "«site.environment»"
    ManagedBy = "Terraform"
  }
}
