//! Reads `[project]`, `[ci.github]`, `[compliance]` and `[[waiver]]`.

use super::{text, texts, word, words};
use crate::infra::{Compliance, Github, HdsHost, Project, Tool, Waiver};
use crate::read::Fields;
use crate::sections::Absent::{Is, Means, Refused};
use crate::sections::{Section, Shape, key, text as kinds};

pub(crate) static PROJECT: Section = Section {
    name: "project",
    doc: "What the infrastructure is called; only `medeclipse infra` and `medeclipse lint` read it.",
    keys: &[
        key("name", Shape::Text(&kinds::NAME), Refused, "Prefix of every name in the cloud."),
        key("title", Shape::Text(&words::LINE), Means("as `name`"), "For tags and descriptions."),
        key(
            "domain",
            Shape::Text(&kinds::HOST),
            Means("a Terraform variable"),
            "Where users reach it: `app.DOMAIN` and the domain itself.",
        ),
        key(
            "zone_id",
            Shape::Text(&words::WORD),
            Means("the zone is made in `bootstrap`"),
            "A Route 53 zone that exists already.",
        ),
        key(
            "data",
            Shape::Texts { of: &words::WORD, min: 0, max: 8 },
            Is("[]"),
            "Classes of personal data it holds, as `health`; they decide which compliance rules apply.",
        ),
        key(
            "registry",
            Shape::Text(&kinds::NAME),
            Means("`production`"),
            "The environment whose account owns the one registry of images.",
        ),
        key(
            "zone_authority",
            Shape::Choice(&["route53", "cloudflare"]),
            Means("`route53`"),
            "Who answers for the zone; only `compliance.cloudflare = \"allow\"` needs it.",
        ),
    ],
};

pub(crate) static CI: Section = Section {
    name: "ci",
    doc: "Pipelines.",
    keys: &[key("github", Shape::Table(&GITHUB), Means("no workflow is rendered"), "GitHub Actions.")],
};

pub(crate) static GITHUB: Section = Section {
    name: "ci.github",
    doc: "The rendered workflow, and whom the cloud trusts.",
    keys: &[
        key(
            "repository",
            Shape::Text(&words::REPOSITORY),
            Refused,
            "OWNER/NAME; the OIDC subject is `repo:OWNER/NAME:environment:ENV`.",
        ),
        key(
            "branches",
            Shape::Variables { name: &kinds::NAME },
            Means("`main`, `staging`, `develop` by class"),
            "Environment to the branch that deploys to it.",
        ),
        key(
            "promote",
            Shape::Variables { name: &kinds::NAME },
            Is("{}"),
            "Environment to the one whose digest it takes, without a build.",
        ),
        key(
            "test",
            Shape::Texts { of: &words::SAYS, min: 0, max: 32 },
            Is("[]"),
            "Commands of the test job.",
        ),
        key(
            "tool",
            Shape::Table(&TOOL),
            Means("the repository variables MEDECLIPSE_URL and _SHA256"),
            "Where the pipeline gets `medeclipse`.",
        ),
    ],
};

pub(crate) static TOOL: Section = Section {
    name: "ci.github.tool",
    doc: "The binary the pipeline runs; its hash is compared before use.",
    keys: &[
        key("url", Shape::Text(&words::URL), Refused, "Where it lies."),
        key("sha256", Shape::Text(&words::SHA256), Refused, "Its hash."),
    ],
};

pub(crate) static COMPLIANCE: Section = Section {
    name: "compliance",
    doc: "What `medeclipse infra` holds an environment to.",
    keys: &[
        key(
            "regions",
            Shape::Texts { of: &words::REGION, min: 1, max: 32 },
            Means("`eu-west-3`, `eu-central-1`, `eu-west-1`, `francecentral`"),
            "Where data may lie; each must be in the European Economic Area for health data.",
        ),
        key(
            "hds_hosts",
            Shape::Named { of: &HOST, name: &kinds::NAME },
            Is("{}"),
            "Certified hosts of health data, by name.",
        ),
        key(
            "cloudflare",
            Shape::Choice(&["refuse", "dns-only", "allow"]),
            Means("`refuse`"),
            "Whether Cloudflare may be used: it would decrypt what it proxies.",
        ),
        key(
            "rego",
            Shape::Texts { of: &kinds::FILE, min: 0, max: 16 },
            Is("[]"),
            "Folders with rules of your own, in Rego.",
        ),
    ],
};

pub(crate) static HOST: Section = Section {
    name: "compliance.hds_hosts.NAME",
    doc: "A certified host of health data.",
    keys: &[
        key("certificate", Shape::Text(&words::LINE), Refused, "The number of its certificate."),
        key("expires", Shape::Text(&words::DATE), Refused, "Its last day."),
        key(
            "covers",
            Shape::Texts { of: &words::WORD, min: 0, max: 64 },
            Is("[]"),
            "Services of the host that decrypt and that it covers, as `cloudfront`.",
        ),
    ],
};

pub(crate) static WAIVER: Section = Section {
    name: "waiver",
    doc: "A finding that is accepted for a while: `[[waiver]]`. An expired one is itself a finding.",
    keys: &[
        key("rule", Shape::Text(&kinds::PLAIN), Refused, "The rule, as `R-10` or `image/unpinned`."),
        key(
            "path",
            Shape::Text(&kinds::FILE),
            Means("wherever it is found"),
            "The files it is found in, as seen from the manifest: `*` within a part, `**` for any parts.",
        ),
        key("reason", Shape::Text(&kinds::PLAIN), Refused, "Why it is accepted."),
        key("by", Shape::Text(&kinds::PLAIN), Refused, "Who accepts it."),
        key("until", Shape::Text(&words::DATE), Refused, "The last day it holds."),
    ],
};

pub(crate) fn read_project(fields: &Fields<'_>) -> Project {
    Project {
        name: text(fields, "name").unwrap_or_default(),
        title: text(fields, "title"),
        domain: text(fields, "domain"),
        zone_id: text(fields, "zone_id"),
        data: texts(fields, "data").unwrap_or_default(),
        registry: text(fields, "registry"),
        zone_authority: word(fields, "zone_authority"),
    }
}

pub(crate) fn read_github(ci: &Fields<'_>) -> Option<Github> {
    let fields = ci.table("github")?;
    let tool = fields
        .table("tool")
        .and_then(|tool| Some(Tool { url: text(&tool, "url")?, sha256: text(&tool, "sha256")? }));
    Some(Github {
        repository: text(&fields, "repository").unwrap_or_default(),
        branches: fields.variables("branches"),
        promote: fields.variables("promote"),
        test: texts(&fields, "test").unwrap_or_default(),
        tool,
    })
}

pub(crate) fn read_compliance(fields: &Fields<'_>) -> Compliance {
    let hosts = fields.named("hds_hosts").into_iter().filter_map(|(name, host)| {
        let covers = texts(&host, "covers").unwrap_or_default();
        Some((
            name.value,
            HdsHost { certificate: text(&host, "certificate")?, expires: text(&host, "expires")?, covers },
        ))
    });
    Compliance {
        regions: texts(fields, "regions").unwrap_or_default(),
        hds_hosts: hosts.collect(),
        cloudflare: word(fields, "cloudflare"),
        rego: texts(fields, "rego").unwrap_or_default(),
    }
}

pub(crate) fn read_waiver(fields: &Fields<'_>) -> Option<Waiver> {
    let path = text(fields, "path");
    Some(Waiver {
        rule: text(fields, "rule")?,
        path,
        reason: text(fields, "reason")?,
        by: text(fields, "by")?,
        until: text(fields, "until")?,
    })
}
