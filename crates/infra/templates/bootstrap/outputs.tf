output "state_bucket" {
  description = "Where the environment's state lies."
  value = aws_s3_bucket.state.id
}

output "zone_id" {
  description = "The zone of the environment; null where the manifest names one."
  value = one(aws_route53_zone.main[*].zone_id)
}

output "name_servers" {
  description = "To be entered in the parent zone."
  value = one(aws_route53_zone.main[*].name_servers)
}

output "registry" {
  description = "Where images lie; null in the other accounts."
  value = one(aws_ecr_repository.main[*].repository_url)
}
<% if plan.github %>

output "deploy_role" {
  description = "The repository variable AWS_DEPLOY_ROLE of this environment."
  value = aws_iam_role.deploy.arn
}

output "push_role" {
  description = "The repository variable AWS_PUSH_ROLE of the environment build."
  value = one(aws_iam_role.push[*].arn)
}
<% endif %>
