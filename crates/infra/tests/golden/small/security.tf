resource "aws_vpc_security_group_ingress_rule" "balancer_https" {
  security_group_id = aws_security_group.balancer.id
  description       = "HTTPS from CloudFront only"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  prefix_list_id    = data.aws_ec2_managed_prefix_list.cloudfront.id
}

resource "aws_vpc_security_group_ingress_rule" "web_balancer" {
  security_group_id            = aws_security_group.web.id
  description                  = "From the balancer"
  ip_protocol                  = "tcp"
  from_port                    = 3000
  to_port                      = 3000
  referenced_security_group_id = aws_security_group.balancer.id
}

resource "aws_vpc_security_group_egress_rule" "web_database" {
  security_group_id            = aws_security_group.web.id
  description                  = "To the database"
  ip_protocol                  = "tcp"
  from_port                    = 5433
  to_port                      = 5433
  referenced_security_group_id = aws_security_group.database.id
}

resource "aws_vpc_security_group_ingress_rule" "database_web" {
  security_group_id            = aws_security_group.database.id
  description                  = "From tasks of web"
  ip_protocol                  = "tcp"
  from_port                    = 5433
  to_port                      = 5433
  referenced_security_group_id = aws_security_group.web.id
}

resource "aws_security_group" "database" {
  name        = "${local.name}-database"
  description = "PostgreSQL"
  vpc_id      = aws_vpc.main.id

  lifecycle {
    create_before_destroy = true
  }
}
