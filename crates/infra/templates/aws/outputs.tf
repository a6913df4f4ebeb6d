output "cluster" {
  description = "The ECS cluster."
  value = aws_ecs_cluster.main.name
}

output "balancer" {
  description = "Name of the balancer."
  value = aws_lb.main.dns_name
}
<% if site.cdn == "cloudfront" %>

output "distribution" {
  description = "Name of the distribution."
  value = aws_cloudfront_distribution.main.domain_name
}
<% endif %>
<% for s in services %>

output "«s.label»" {
  description = "What the engine needs to release «s.name»."
  value = {
    task_definition = aws_ecs_task_definition.«s.label».family
    services = [<% for side in s.sides %>aws_ecs_service.«side.label».name<% if not loop.last %>, <% endif %><% endfor %>]
    target_groups = [aws_lb_target_group.«s.label»_a.arn, aws_lb_target_group.«s.label»_b.arn]
    listener_rule = aws_lb_listener_rule.«s.label».arn
    subnets = local.private_subnets
    security_group = aws_security_group.«s.label».id
  }
}
<% endfor %>
<% if site.database %>

output "database" {
  description = "Where PostgreSQL answers."
  value = {
    address = aws_db_instance.main.address
    port = aws_db_instance.main.port
    name = aws_db_instance.main.db_name
  }
}
<% endif %>
<% if site.cache %>

output "cache" {
  description = "Where Redis answers."
  value = aws_elasticache_replication_group.main.primary_endpoint_address
}
<% endif %>

output "alerts" {
  description = "The topic alarms go to."
  value = aws_sns_topic.alerts.arn
}
