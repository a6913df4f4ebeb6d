# Three kinds of subnets a zone: private for tasks and endpoints, public for NAT<% if site.cdn == "none" %> and the balancer<% endif %>, data without a way out.

resource "aws_vpc" "main" {
  cidr_block = "«site.cidr»"
  enable_dns_support = true
  enable_dns_hostnames = true

  tags = {
    Name = local.name
  }
}

# Whatever is made without a group of its own reaches nothing.
resource "aws_default_security_group" "main" {
  vpc_id = aws_vpc.main.id

  tags = {
    Name = "${local.name}-default-closed"
  }
}

<% for z in site.zones %>
resource "aws_subnet" "private_«z.letter»" {
  vpc_id = aws_vpc.main.id
  cidr_block = cidrsubnet(aws_vpc.main.cidr_block, «z.bits», «z.private»)
  availability_zone = "«z.name»"

  tags = {
    Name = "${local.name}-private-«z.letter»"
  }
}

resource "aws_subnet" "public_«z.letter»" {
  vpc_id = aws_vpc.main.id
  cidr_block = cidrsubnet(aws_vpc.main.cidr_block, «z.bits», «z.public»)
  availability_zone = "«z.name»"
  map_public_ip_on_launch = false

  tags = {
    Name = "${local.name}-public-«z.letter»"
  }
}

resource "aws_subnet" "data_«z.letter»" {
  vpc_id = aws_vpc.main.id
  cidr_block = cidrsubnet(aws_vpc.main.cidr_block, «z.bits», «z.data»)
  availability_zone = "«z.name»"

  tags = {
    Name = "${local.name}-data-«z.letter»"
  }
}

<% endfor %>
locals {
  private_subnets = [<% for z in site.zones %>aws_subnet.private_«z.letter».id<% if not loop.last %>, <% endif %><% endfor %>]
  public_subnets = [<% for z in site.zones %>aws_subnet.public_«z.letter».id<% if not loop.last %>, <% endif %><% endfor %>]
  data_subnets = [<% for z in site.zones %>aws_subnet.data_«z.letter».id<% if not loop.last %>, <% endif %><% endfor %>]
}

resource "aws_internet_gateway" "main" {
  vpc_id = aws_vpc.main.id

  tags = {
    Name = local.name
  }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.main.id

  tags = {
    Name = "${local.name}-public"
  }
}

resource "aws_route" "public" {
  route_table_id = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id = aws_internet_gateway.main.id
}

<% for z in site.zones %>
resource "aws_route_table_association" "public_«z.letter»" {
  subnet_id = aws_subnet.public_«z.letter».id
  route_table_id = aws_route_table.public.id
}

<% endfor %>
<% for z in nat_zones %>
resource "aws_eip" "nat_«z.letter»" {
  domain = "vpc"

  tags = {
    Name = "${local.name}-nat-«z.letter»"
  }
}

resource "aws_nat_gateway" "«z.letter»" {
  allocation_id = aws_eip.nat_«z.letter».id
  subnet_id = aws_subnet.public_«z.letter».id

  tags = {
    Name = "${local.name}-«z.letter»"
  }

  depends_on = [aws_internet_gateway.main]
}

<% endfor %>
<% for z in site.zones %>
resource "aws_route_table" "private_«z.letter»" {
  vpc_id = aws_vpc.main.id

  tags = {
    Name = "${local.name}-private-«z.letter»"
  }
}

resource "aws_route_table_association" "private_«z.letter»" {
  subnet_id = aws_subnet.private_«z.letter».id
  route_table_id = aws_route_table.private_«z.letter».id
}

<% if nat_zones %>
resource "aws_route" "private_«z.letter»" {
  route_table_id = aws_route_table.private_«z.letter».id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id = aws_nat_gateway.<% if site.nat == "per-zone" %>«z.letter»<% else %>«nat_zones[0].letter»<% endif %>.id
}

<% endif %>
<% endfor %>
# No route but the network's own: data cannot leave by mistake.
resource "aws_route_table" "data" {
  vpc_id = aws_vpc.main.id

  tags = {
    Name = "${local.name}-data"
  }
}

<% for z in site.zones %>
resource "aws_route_table_association" "data_«z.letter»" {
  subnet_id = aws_subnet.data_«z.letter».id
  route_table_id = aws_route_table.data.id
}

<% endfor %>
# What tasks need of AWS does not leave the network.
<% for e in site.endpoints %>
resource "aws_vpc_endpoint" "«e | replace(".", "_") | replace("-", "_")»" {
  vpc_id = aws_vpc.main.id
  service_name = "com.amazonaws.${local.region}.«e»"
  vpc_endpoint_type = "Interface"
  subnet_ids = local.private_subnets
  security_group_ids = [aws_security_group.endpoints.id]
  private_dns_enabled = true

  tags = {
    Name = "${local.name}-«e»"
  }
}

<% endfor %>
resource "aws_vpc_endpoint" "s3" {
  vpc_id = aws_vpc.main.id
  service_name = "com.amazonaws.${local.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids = [<% for z in site.zones %>aws_route_table.private_«z.letter».id<% if not loop.last %>, <% endif %><% endfor %>]

  tags = {
    Name = "${local.name}-s3"
  }
}

resource "aws_flow_log" "main" {
  vpc_id = aws_vpc.main.id
  traffic_type = "ALL"
  log_destination_type = "cloud-watch-logs"
  log_destination = aws_cloudwatch_log_group.flow.arn
  iam_role_arn = aws_iam_role.flow.arn
  max_aggregation_interval = 60
}

resource "aws_iam_role" "flow" {
  name = "${local.name}-flow-logs"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = "sts:AssumeRole"
      Principal = { Service = "vpc-flow-logs.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "flow" {
  name = "write"
  role = aws_iam_role.flow.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
      Resource = "${aws_cloudwatch_log_group.flow.arn}:*"
    }]
  })
}
<% if site.vpn %>

resource "aws_vpn_gateway" "main" {
  vpc_id = aws_vpc.main.id

  tags = {
    Name = local.name
  }
}
<% if site.azure and site.azure.link == "vpn" %>

resource "aws_customer_gateway" "standby" {
  bgp_asn = "65515"
  ip_address = var.standby_vpn_address
  type = "ipsec.1"

  tags = {
    Name = "${local.name}-standby"
  }
}

resource "aws_vpn_connection" "standby" {
  vpn_gateway_id = aws_vpn_gateway.main.id
  customer_gateway_id = aws_customer_gateway.standby.id
  type = "ipsec.1"
  static_routes_only = true

  tags = {
    Name = "${local.name}-standby"
  }
}

resource "aws_vpn_connection_route" "standby" {
  vpn_connection_id = aws_vpn_connection.standby.id
  destination_cidr_block = "«site.azure.cidr»"
}
<% endif %>
<% endif %>
