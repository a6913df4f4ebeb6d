//! Web ACLs: what they limit, what they block, in which order, who is told, and what they guard.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::{At, Node};
use crate::lint::read::hcl::Block;
use crate::lint::terraform::Resource;

pub const RULES: &[Rule] = &[
    Rule {
        id: "waf/rate-scoped",
        severity: Severity::High,
        says: "A rate limit counts everybody who is let in.",
        why: "A rate rule counts only what its scope-down statement matches; whoever is outside it is never limited. https://docs.aws.amazon.com/waf/latest/APIReference/API_RateBasedStatement.html",
        instead: "a rule of its own that blocks by country, and a rate rule without the geographic scope",
        check: rate_scoped,
    },
    Rule {
        id: "waf/body-size-blocked",
        severity: Severity::High,
        says: "The common rule set does not block uploads.",
        why: "Its SizeRestrictions_BODY blocks every body over 8 KiB; new managed rules belong in count mode first. https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-baseline.html",
        instead: "`rule_action_override { name = \"SizeRestrictions_BODY\" action_to_use { count {} } }`, and a size rule of its own on upload paths",
        check: body_size,
    },
    Rule {
        id: "waf/bots-block-probes",
        severity: Severity::Medium,
        says: "Bot Control is configured, and lets health checks through.",
        why: "With its default actions it blocks what is no browser: monitors, partners' programs, the pipeline's own curl. https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-bot.html",
        instead: "`managed_rule_group_configs` with an inspection level, count first, and a scope-down that excludes health paths",
        check: bots,
    },
    Rule {
        id: "waf/not-logged",
        severity: Severity::High,
        says: "A web ACL logs what it decides.",
        why: "Without logs nobody can tell an attack from a customer who was blocked (WAF.11, checkov CKV2_AWS_31).",
        instead: "`aws_wafv2_web_acl_logging_configuration` to a destination named `aws-waf-logs-…`, cookies and authorization redacted",
        check: not_logged,
    },
    Rule {
        id: "waf/rate-last",
        severity: Severity::Low,
        says: "The cheapest rule that blocks comes first.",
        why: "Rules are evaluated by priority: behind paid rule groups, each request of a flood is inspected, and billed, before it is counted.",
        instead: "the rate rule's priority below those of managed rule groups",
        check: rate_last,
    },
    Rule {
        id: "waf/guards-nothing",
        severity: Severity::High,
        says: "A web ACL is associated with what it should guard.",
        why: "An ACL that nothing refers to inspects no request.",
        instead: "`web_acl_id` of the distribution, or `aws_wafv2_web_acl_association` for a balancer",
        check: guards_nothing,
    },
    Rule {
        id: "waf/scope-mismatch",
        severity: Severity::Critical,
        says: "An ACL's scope is that of what it guards.",
        why: "CloudFront takes ACLs of scope CLOUDFRONT only, balancers and APIs those of scope REGIONAL: AWS refuses the others. https://docs.aws.amazon.com/waf/latest/APIReference/API_AssociateWebACL.html",
        instead: "`scope = \"CLOUDFRONT\"` in us-east-1 for a distribution, `scope = \"REGIONAL\"` for a balancer",
        check: scope_mismatch,
    },
    Rule {
        id: "waf/priority-twice",
        severity: Severity::High,
        says: "Each rule of an ACL has a priority of its own.",
        why: "AWS refuses an ACL with two rules of one priority.",
        instead: "a priority no other rule has",
        check: priority_twice,
    },
];

fn acls<'g>(out: &Out<'g>) -> Vec<Resource<'g>> {
    ["aws_wafv2_web_acl", "aws_wafv2_rule_group"].iter().flat_map(|kind| out.graph.resources(kind)).collect()
}

/// The rate statements of a rule, with the rule.
fn rates(acl: Resource<'_>) -> Vec<(&Block, &Block)> {
    let mut found = Vec::new();
    for rule in acl.block.blocks("rule") {
        rule.walk(&mut |block| {
            if block.kind == "rate_based_statement" {
                found.push((rule, block));
            }
        });
    }
    found
}

fn rate_scoped(out: &mut Out<'_>) {
    for acl in acls(out) {
        let all = rates(acl);
        let unscoped = all.iter().any(|(_, rate)| rate.block("scope_down_statement").is_none());
        // Whoever is outside may be blocked by a rule of its own.
        let mut blocked = acl.block.at(&["default_action", "block"]).is_some();
        for rule in acl.block.blocks("rule").filter(|rule| rule.at(&["action", "block"]).is_some()) {
            let not = rule.at(&["statement", "not_statement"]);
            blocked |= not.is_some_and(|not| has_block(not, "geo_match_statement"));
        }
        for (_, rate) in all {
            let Some(scope) = rate.block("scope_down_statement") else { continue };
            let negated = has_block(scope, "not_statement");
            let geo = find_block(scope, "geo_match_statement");
            if let Some(geo) = geo.filter(|_| !negated && !blocked && !unscoped) {
                let countries = geo.get("country_codes").map_or(String::new(), |node| {
                    node.items().iter().filter_map(Node::text).collect::<Vec<_>>().join(", ")
                });
                let message = format!(
                    "only requests from {countries} are limited: whoever attacks from elsewhere is not"
                );
                let default = acl.block.block("default_action").map_or(acl.head(), |block| block.head);
                out.say(geo.head, message).against(default, "and the default is to allow");
            }
        }
    }
}

fn has_block(block: &Block, kind: &str) -> bool {
    find_block(block, kind).is_some()
}

fn find_block<'b>(block: &'b Block, kind: &str) -> Option<&'b Block> {
    let mut found = None;
    block.walk(&mut |inner| {
        if inner.kind == kind {
            found.get_or_insert(inner);
        }
    });
    found
}

/// Rules that use a managed group of that name, with the statement.
fn managed<'b>(acl: Resource<'b>, name: &str) -> Vec<(&'b Block, &'b Block, At)> {
    let mut found = Vec::new();
    for rule in acl.block.blocks("rule") {
        if let Some(statement) = rule.at(&["statement", "managed_rule_group_statement"])
            && let Some(node) = statement.get("name").filter(|node| node.text() == Some(name))
        {
            found.push((rule, statement, node.at));
        }
    }
    found
}

/// Whether the whole group is only counted.
fn counts(rule: &Block) -> bool {
    rule.at(&["override_action", "count"]).is_some()
}

fn overrides(statement: &Block, name: &str) -> bool {
    let by_action = statement
        .blocks("rule_action_override")
        .any(|block| block.get("name").and_then(Node::text) == Some(name));
    by_action
        || statement.blocks("excluded_rule").any(|block| block.get("name").and_then(Node::text) == Some(name))
}

fn body_size(out: &mut Out<'_>) {
    for acl in acls(out) {
        for (rule, statement, at) in managed(acl, "AWSManagedRulesCommonRuleSet") {
            let scoped = statement.block("scope_down_statement").is_some();
            if !counts(rule) && !overrides(statement, "SizeRestrictions_BODY") && !scoped {
                let action = rule.block("override_action").map_or(rule.head, |block| block.head);
                out.say(at, "the common rule set blocks every request body over 8 KiB")
                    .against(action, "its rules block from the first day");
            }
        }
    }
}

fn bots(out: &mut Out<'_>) {
    for acl in acls(out) {
        for (rule, statement, at) in managed(acl, "AWSManagedRulesBotControlRuleSet") {
            let lacks = statement.block("managed_rule_group_configs").is_none();
            let exempt = statement.block("scope_down_statement").is_some()
                || !statement.blocks("rule_action_override").count().eq(&0);
            if !counts(rule) && (lacks || !exempt) {
                let probe = probing(out);
                let told = out.say(at, "Bot Control blocks whoever is no browser, health checks and the pipeline's own requests included");
                if let Some(probe) = probe {
                    told.against(probe, "a request that is no browser's");
                }
            }
        }
    }
}

/// A request of the pipeline's or a script's to a public address.
fn probing(out: &Out<'_>) -> Option<At> {
    let command = out.graph.commands().into_iter().find(|command| {
        command.is(&["curl"])
            && !command
                .words
                .iter()
                .any(|word| word.text.contains("localhost") || word.text.contains("127.0.0.1"))
    })?;
    Some(command.at)
}

fn not_logged(out: &mut Out<'_>) {
    for acl in out.graph.resources("aws_wafv2_web_acl") {
        let scope_of = |module| out.graph.scope(module);
        let logged = out.graph.resources("aws_wafv2_web_acl_logging_configuration").any(|logging| {
            let named =
                logging.block.get("resource_arn").and_then(|node| scope_of(logging.module).resource(node));
            named.is_none_or(|(named, _)| named.address() == acl.address())
        });
        if !logged {
            out.say(acl.head(), format!("`{}` logs nothing", acl.address()));
        }
    }
}

fn priority(rule: &Block) -> Option<(f64, At)> {
    rule.get("priority").and_then(|node| Some((node.number()?, node.at)))
}

fn rate_last(out: &mut Out<'_>) {
    for acl in acls(out) {
        for (rule, _) in rates(acl) {
            let Some((own, at)) = priority(rule) else { continue };
            let paid = acl
                .block
                .blocks("rule")
                .filter(|other| other.at(&["statement", "managed_rule_group_statement"]).is_some());
            let earlier: Vec<At> =
                paid.filter_map(priority).filter(|(other, _)| *other < own).map(|(_, at)| at).collect();
            if let Some(first) = earlier.first() {
                out.say(
                    at,
                    format!(
                        "the rate rule comes behind {} managed rule group{}",
                        earlier.len(),
                        if earlier.len() == 1 { "" } else { "s" }
                    ),
                )
                .against(*first, "evaluated before it");
            }
        }
    }
}

fn guards_nothing(out: &mut Out<'_>) {
    for acl in out.graph.resources("aws_wafv2_web_acl") {
        let mut used = false;
        for block in &acl.module.blocks {
            if std::ptr::eq(block, acl.block)
                || block.labels.first().is_some_and(|kind| kind == "aws_wafv2_web_acl_logging_configuration")
            {
                continue;
            }
            block.walk_values(&mut |node| {
                if let crate::lint::doc::Kind::Ref(parts) = &node.kind {
                    used |= parts.len() >= 2 && parts[0] == acl.kind() && parts[1] == acl.name();
                }
            });
        }
        if !used {
            out.say(acl.head(), format!("nothing here is guarded by `{}`", acl.address()));
        }
    }
}

fn priority_twice(out: &mut Out<'_>) {
    for acl in acls(out) {
        let mut seen: Vec<(f64, At)> = Vec::new();
        for (own, at) in acl.block.blocks("rule").filter_map(priority) {
            if let Some((_, first)) = seen.iter().find(|known| (known.0 - own).abs() < f64::EPSILON) {
                out.say(at, format!("the priority {own} is given twice")).against(*first, "given here too");
            }
            seen.push((own, at));
        }
    }
}

fn scope_mismatch(out: &mut Out<'_>) {
    let graph = out.graph;
    for (kind, argument, wanted) in [
        ("aws_cloudfront_distribution", "web_acl_id", "CLOUDFRONT"),
        ("aws_wafv2_web_acl_association", "web_acl_arn", "REGIONAL"),
    ] {
        for user in graph.resources(kind) {
            let Some(node) = user.block.get(argument) else { continue };
            let Some((acl, _)) = graph.scope(user.module).resource(node) else { continue };
            let Some(scope) = acl.block.get("scope").filter(|_| acl.kind() == "aws_wafv2_web_acl") else {
                continue;
            };
            let known = graph.scope(acl.module).value(scope);
            if let Some(known) = known.known().filter(|known| *known != wanted) {
                out.say(
                    node.at,
                    format!(
                        "`{}` needs an ACL of scope {wanted}, but `{}` has {known}",
                        user.address(),
                        acl.address()
                    ),
                )
                .against(scope.at, format!("its scope is {known}"));
            }
        }
    }
}
