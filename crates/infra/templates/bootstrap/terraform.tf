# Applied once in each account, before anything else: first with a local state, then `terraform init -migrate-state` into the
# bucket it made (remove the comment before the backend, and give -backend-config=bucket=…).

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      version = "~> 6.25"
    }
  }

  # backend "s3" {
  #   key          = "bootstrap/terraform.tfstate"
  #   encrypt      = true
  #   use_lockfile = true
  # }
}

variable "environment" {
  description = "The environment whose account this is."
  type = string

  validation {
    condition = contains(keys(local.accounts), var.environment)
    error_message = "The manifest has no such environment on AWS."
  }
}

locals {
  project = "«plan.project»"

  accounts = {
<% for s in sites %>
    «s.environment» = { account = "«s.account»", region = "«s.region»", bucket = "«s.state.bucket»", branch = "<% if plan.github %><% for stage in plan.github.stages %><% if stage.environment == s.environment %>«stage.branch»<% endif %><% endfor %><% endif %>" }
<% endfor %>
  }

  account = local.accounts[var.environment].account
  region = local.accounts[var.environment].region
  registry = var.environment == "«registry.environment»"
  name = "${local.project}-${var.environment}"

  tags = {
    Project = "«plan.title»"
    Environment = var.environment
    ManagedBy = "Terraform"
  }
}

provider "aws" {
  region = local.region
  allowed_account_ids = [local.account]

  default_tags {
    tags = local.tags
  }
}
