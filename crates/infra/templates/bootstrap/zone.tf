<% if plan.domain %>
locals {
  domain = var.environment == "production" ? "«plan.domain»" : "${var.environment}.«plan.domain»"
}
<% else %>
variable "domain" {
  description = "The domain users reach."
  type = string
}

locals {
  domain = var.environment == "production" ? var.domain : "${var.environment}.${var.domain}"
}
<% endif %>

# A zone an account: whoever may change staging's names cannot change production's. Enter its name servers in the parent zone.
resource "aws_route53_zone" "main" {
  #checkov:skip=CKV2_AWS_38:the standby's names lead to zones that are not signed; signing ours needs a key in us-east-1 and a parent that takes its DS record
  #checkov:skip=CKV2_AWS_39:a query log holds addresses of patients, cannot be redacted and lies in us-east-1
<% if plan.zone_id %>
  count = var.environment == "production" ? 0 : 1
<% else %>
  count = 1
<% endif %>
  name = local.domain
  comment = local.name
}
