"""Plans and applies rendered roots with Terraform on moto, an emulator of AWS, and asks the emulator what then stands there.

  python script/lib/emulated.py MEDECLIPSE PROVIDERS [--plan] ENVIRONMENT...     called by script/bench infra-emulated, script/tools

PROVIDERS is a folder with an AWS provider, as terraform init -plugin-dir takes it. For each environment, with a moto of its own on loopback:
its root is planned, and `medeclipse infra check` holds the plan to the rules; bootstrap is applied, then the root, whose state goes into the
bucket that bootstrap made, under its lock; second plans must change nothing; boto3 reads back what the rules are about. `--plan` plans and
checks, and applies nothing. Exit code 1 when anything is not as it must be.

What an emulator and a provider older than 6 do not know is left out of a copy, never of what is rendered; every line of that is printed.
"""
import argparse, concurrent.futures, json, os, re, shutil, socket, subprocess, sys, tempfile, time
import boto3

TOP = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
MANIFEST = os.path.join(TOP, "crates/manifest/tests/infra.toml")
REGION = "eu-west-3"
PATIENCE = 600  # seconds for one call of terraform: the longest, an apply, takes three minutes on two cores

# Found by trying: each call ends in 404 or 500. Data sources that moto cannot read stand in every copy as what AWS documents them to be.
DOCUMENTED = {
    "data.aws_cloudfront_cache_policy.none.id": "4135ea2d-6df8-44a3-9df3-4b5a84be39ad",
    "data.aws_cloudfront_origin_request_policy.all.id": "216adef6-5c7f-47e4-b989-5ee9fdd9ea2e",
}
# Type of resource -> the call moto lacks. Left out of what is applied; all of them are planned.
LEFT_OUT = {
    "aws_appautoscaling_policy": "needs aws_appautoscaling_target",
    "aws_appautoscaling_target": "application-autoscaling ListTagsForResource",
    "aws_backup_restore_testing_plan": "backup CreateRestoreTestingPlan",
    "aws_backup_restore_testing_selection": "needs aws_backup_restore_testing_plan",
    "aws_backup_selection": "backup CreateBackupSelection",
    "aws_backup_vault_policy": "backup PutBackupVaultAccessPolicy",
    "aws_cloudfront_response_headers_policy": "cloudfront CreateResponseHeadersPolicy",
    "aws_cloudfront_vpc_origin": "cloudfront CreateVpcOrigin",
    "aws_cloudwatch_composite_alarm": "cloudwatch PutCompositeAlarm",
    "aws_cloudwatch_log_data_protection_policy": "logs PutDataProtectionPolicy",
    "aws_elasticache_parameter_group": "elasticache CreateCacheParameterGroup",
    "aws_elasticache_replication_group": "elasticache DescribeCacheClusters knows no members of a group",
    "aws_elasticache_user_group": "elasticache CreateUserGroup",
}
# Blocks of aws_ecs_service that only a provider from 6 on knows.
NEWER = ("advanced_configuration", "deployment_configuration")
# And what a plan without them is told: without a strategy a service is taken for one that rolls.
TOLD = ["R-21 aws_ecs_service.web: not so: goes back by itself"]
# Arguments given otherwise, where there are such: address -> argument, why.
OTHERWISE = {
    "aws_db_instance.main": ('maintenance_window = "sun:04:01-sun:05:01"', "moto takes windows that touch for windows that overlap"),
    "provider.backup": ('allowed_account_ids = ["111111111111"]', "moto takes a role of another account for one of its own"),
}
# What moto gives back otherwise than it was given: type -> arguments that a second plan may want to change, and why.
FORGOTTEN = {
    "aws_backup_plan": ({"tags_all"}, "tags are not given back"),
    "aws_backup_vault": ({"tags_all"}, "tags are not given back"),
    "aws_cloudfront_distribution": (
        {"default_cache_behavior", "origin", "viewer_certificate"},
        "its certificate, its policies and the VPC origin are not given back",
    ),
    "aws_db_instance": (
        {"engine_lifecycle_support", "performance_insights_enabled", "performance_insights_kms_key_id"},
        "are not given back",
    ),
    "aws_db_parameter_group": ({"parameter"}, "parameters are not given back"),
    "aws_ecs_service": (
        {"availability_zone_rebalancing", "enable_ecs_managed_tags", "health_check_grace_period_seconds"},
        "are not given back",
    ),
    "aws_vpc_security_group_egress_rule": ({"description"}, "descriptions are not given back"),
    "aws_vpc_security_group_ingress_rule": ({"description"}, "descriptions are not given back"),
}
failures = []


def say(text):
    print(text, flush=True)


def holds(what, true, seen=""):
    say(f"  ok: {what}" if true else f"  FAILED: {what}{f': {seen}' if seen != '' else ''}")
    if not true:
        failures.append(what)


def seconds(began):
    return f"{time.monotonic() - began:.0f} s"


# --- the copy that an emulator and an older provider can take


def without(text, opening):
    """Takes out every block whose first line matches; returns what is left and how many there were."""
    left, depth, count = [], 0, 0
    for line in text.splitlines(keepends=True):
        if depth or re.match(opening, line):
            count += not depth
            depth += line.count("{") - line.count("}")
        else:
            left.append(line)
    return "".join(left), count


def adapted(text, left_out, gone):
    for block in NEWER:
        text, _ = without(text, rf"\s+{block} \{{")
    text = text.replace(", deployment_configuration]", "]")
    for reference, value in DOCUMENTED.items():
        text, _ = without(text, 'data "{}" "{}" '.format(*reference.split(".")[1:3]))
        text = text.replace(reference, f'"{value}"')
    for kind in left_out:
        text, count = without(text, rf'resource "{kind}" ')
        gone[kind] = gone.get(kind, 0) + count
        text = re.sub(rf"\b{kind}\.\w+\.\w+", '"left-out"', text)
    return text


def prepare(rendered, part, copy, left_out=(), local_state=True):
    """Copies a root, adapts it and adds an override; returns what was left out."""
    shutil.copytree(os.path.join(rendered, part), copy)
    gone, whole = {}, ""
    for name in sorted(os.listdir(copy)):
        path = os.path.join(copy, name)
        with open(path) as file:
            text = file.read()
        whole += text
        with open(path, "w") as file:
            file.write(adapted(text, left_out, gone))
    override = 'terraform {\n  required_providers {\n    aws = {\n      source  = "hashicorp/aws"\n      version = ">= 5.100"\n    }\n  }\n'
    override += '  backend "local" {}\n}\n' if local_state else "}\n"
    for alias in ["", *re.findall(r'^  alias += "(\w+)"', whole, re.M)]:
        own = [f'alias = "{alias}"'] * bool(alias) + ["s3_use_path_style = true", "max_retries = 1"]
        own += [argument for address, (argument, _) in OTHERWISE.items() if alias and address == f"provider.{alias}"]
        override += 'provider "aws" {\n  ' + "\n  ".join(own) + "\n}\n"
    for address, (argument, _) in OTHERWISE.items():
        kind, name = address.split(".")
        if kind != "provider" and f'resource "{kind}" "{name}"' in whole:
            override += f'resource "{kind}" "{name}" {{\n  {argument}\n}}\n'
    with open(os.path.join(copy, "emulated_override.tf"), "w") as file:
        file.write(override)
    return {kind: count for kind, count in gone.items() if count}


# --- programs


class Moto:
    """An emulator of one account on loopback."""

    def __init__(self, account, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        port = self.url.rsplit(":", 1)[1]
        settings = {"MOTO_ACCOUNT_ID": account, "MOTO_IAM_LOAD_MANAGED_POLICIES": "true", "MOTO_ACM_VALIDATION_WAIT": "1"}
        self.log = open(os.path.join(folder, "moto.log"), "w")
        program = os.path.join(os.path.dirname(sys.executable), "moto_server")
        self.process = subprocess.Popen(
            [program, "-H", "127.0.0.1", "-p", port], env={**os.environ, **settings}, stdout=self.log, stderr=self.log
        )
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", int(port)), 1).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        sys.exit(f"moto does not listen: see {self.log.name}")

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()

    def client(self, service, region=REGION, **more):
        return boto3.client(service, region_name=region, endpoint_url=self.url, aws_access_key_id="test", aws_secret_access_key="test", **more)


class Terraform:
    def __init__(self, moto, providers):
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
        # S3 Control puts the account before the host's name, which resolves nowhere: such names go through the emulator as their proxy.
        self.env = {
            **keep,
            **{"AWS_ENDPOINT_URL": moto.url, "HTTP_PROXY": moto.url, "http_proxy": moto.url},
            **{"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true"},
            **{"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"},
        }
        self.providers = providers

    def call(self, folder, *words, accepted=(0,)):
        done = subprocess.run(
            ["timeout", "--signal=INT", str(PATIENCE), "terraform", f"-chdir={folder}", *words], env=self.env, capture_output=True, text=True
        )
        if done.returncode not in accepted:
            errors = re.findall(r"^Error: .*(?:\n(?!\n|Error).*)*", done.stdout + done.stderr, re.M)
            raise Failed(f"terraform {words[0]} of {os.path.basename(folder)} ends with {done.returncode}", "\n".join(errors) or done.stderr[-2000:])
        return done

    def init(self, folder, *words):
        self.call(folder, "init", "-input=false", "-no-color", f"-plugin-dir={self.providers}", *words)

    def plan(self, folder, variables, out, *words):
        """Returns the plan as terraform show says it."""
        given = [word for name, value in variables.items() for word in ("-var", f"{name}={value}")]
        self.call(folder, "plan", "-input=false", "-no-color", f"-out={out}", *given, *words)
        return self.call(folder, "show", "-json", out).stdout

    def apply(self, folder, plan):
        said = self.call(folder, "apply", "-input=false", "-no-color", plan).stdout
        return re.search(r"Apply complete! Resources: (\d+) added", said).group(1)

    def output(self, folder, name):
        return json.loads(self.call(folder, "output", "-json").stdout).get(name, {}).get("value")


class Failed(Exception):
    pass


# --- what is done


def variables(environment, zone):
    given = {"image_web": "111111111111.dkr.ecr.eu-west-3.amazonaws.com/medeclipse@sha256:" + "a" * 64, "test_header": "emulated", "zone_id": zone}
    if environment == "production":
        given |= {"standby_fqdn": "web.example.francecentral.azurecontainerapps.io", "standby_ip": "192.0.2.1", "standby_verification_id": "emulated"}
    return given


def to_change(plan):
    """Address -> type, what is done, and the arguments a plan would change."""
    found = {}
    for change in json.loads(plan).get("resource_changes", []):
        actions, before, after = change["change"]["actions"], change["change"]["before"] or {}, change["change"]["after"] or {}
        if actions not in (["no-op"], ["read"]):
            found[change["address"]] = (change["type"], actions, {key for key in {**before, **after} if before.get(key) != after.get(key)})
    return found


def nothing_left(what, plan):
    """Holds that a plan after an apply changes nothing but what the emulator forgot."""
    forgotten, wrong = {}, []
    for address, (kind, actions, keys) in to_change(plan).items():
        known, _ = FORGOTTEN.get(kind, (set(), ""))
        if actions == ["update"] and keys <= known:
            forgotten.setdefault(kind, [set(), 0])
            forgotten[kind][0] |= keys
            forgotten[kind][1] += 1
        else:
            wrong.append(f"{address} {'/'.join(actions)} {', '.join(sorted(keys))}")
    holds(f"a second plan of {what} changes nothing" + (" but what moto forgot" if forgotten else ""), not wrong, "; ".join(wrong))
    for kind, (keys, count) in sorted(forgotten.items()):
        say(f"     {count} {kind}: {', '.join(sorted(keys))}: {FORGOTTEN[kind][1]}")


def checked(program, name, folder, plan):
    path = os.path.join(folder, "plan.json")
    with open(path, "w") as file:
        file.write(plan)
    done = subprocess.run([program, "--manifest", MANIFEST, "--env", name, "--json", "infra", "check", path], capture_output=True, text=True)
    if done.returncode not in (0, 1):
        return holds("infra check reads terraform's own plan", False, done.stderr)
    rules = json.loads(done.stdout)["rules"]
    told = sorted({f"{it['rule']} {it['address']}: {it['what']}" for rule in rules for it in rule["findings"]})
    verdicts = [rule["verdict"] for rule in rules]
    holds("infra check on terraform's own plan: " + ", ".join(f"{verdicts.count(it)} {it}" for it in sorted(set(verdicts))), told == TOLD, told)
    say(f"     the one: {TOLD[0]}, as the copy has no deployment_configuration")


def environment(program, providers, name, plan_only, work):
    rendered = os.path.join(work, "rendered")
    subprocess.run([program, "--manifest", MANIFEST, "--env", name, "infra", "render", "--out", rendered, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    with open(MANIFEST) as file:
        account = re.search(rf"\[environment\.{name}(?:\.aws)?\][^\[]*?account\s*= \"(\d+)\"", file.read()).group(1)
    moto = Moto(account, work)
    try:
        terraform = Terraform(moto, providers)
        planned(program, terraform, name, rendered, work)
        if not plan_only:
            applied(terraform, moto, name, account, rendered, work)
    finally:
        moto.stop()


def planned(program, terraform, name, rendered, work):
    root, began = os.path.join(work, "planned"), time.monotonic()
    prepare(rendered, f"{name}/aws", root)
    terraform.init(root)
    plan = terraform.plan(root, variables(name, "Z0123456789ABCDEFGHIJ"), "first")
    say(f"{name}: terraform plans {len(to_change(plan))} resources, {seconds(began)}")
    checked(program, name, work, plan)


def applied(terraform, moto, name, account, rendered, work):
    bootstrap, root = os.path.join(work, "bootstrap"), os.path.join(work, "aws")
    began = time.monotonic()
    prepare(rendered, "bootstrap/aws", bootstrap)
    terraform.init(bootstrap)
    given = {"environment": name}
    terraform.plan(bootstrap, given, "first")
    added = terraform.apply(bootstrap, "first")
    say(f"{name}: bootstrap applied, {added} resources in {seconds(began)}")
    nothing_left("bootstrap", terraform.plan(bootstrap, given, "second"))
    state = f"medeclipse-terraform-state-{account}"
    buckets(moto, state, f"medeclipse-{name}-audit-{account}")
    # moto does not look at a policy's conditions: what is denied without TLS it denies to everybody.
    moto.client("s3").delete_bucket_policy(Bucket=state)

    zone = terraform.output(bootstrap, "zone_id") or moto.client("route53").create_hosted_zone(
        Name="medeclipse.example", CallerReference="emulated")["HostedZone"]["Id"].rsplit("/", 1)[1]  # fmt: skip
    began = time.monotonic()
    left_out = prepare(rendered, f"{name}/aws", root, LEFT_OUT, local_state=False)
    terraform.init(root, "-backend-config=use_path_style=true")
    terraform.plan(root, variables(name, zone), "first")
    added = terraform.apply(root, "first")
    say(f"{name}: applied, {added} resources in {seconds(began)}; left out, with the call moto lacks, or given otherwise:")
    for kind, count in sorted(left_out.items()):
        say(f"     {count} {kind}: {LEFT_OUT[kind]}")
    say(f"     {', '.join(NEWER)} of aws_ecs_service: a provider below 6 lacks them")
    for address, (argument, why) in OTHERWISE.items():
        say(f"     {address} has {argument}: {why}")
    nothing_left(f"{name}/aws", terraform.plan(root, variables(name, zone), "second"))
    stands(moto, terraform, root, name, account)


# --- what then stands there, as boto3 reads it


def stands(moto, terraform, root, name, account):
    full = f"medeclipse-{name}"
    firewall(moto, "us-east-1" if name != "development" else REGION, "CLOUDFRONT" if name != "development" else "REGIONAL", full)
    balancer(moto, full)
    buckets(moto, f"{full}-access-logs-{account}")
    keys_and_secrets(moto, name)
    registry_and_state(moto, terraform, root, name, account)


def firewall(moto, region, scope, full):
    client = moto.client("wafv2", region)
    found = next(acl for acl in client.list_web_acls(Scope=scope)["WebACLs"] if acl["Name"] == full)
    rules = {rule["Name"]: rule for rule in client.get_web_acl(Name=full, Scope=scope, Id=found["Id"])["WebACL"]["Rules"]}
    order = [rule["Name"] for rule in sorted(rules.values(), key=lambda rule: rule["Priority"])]
    rate = rules["RateLimitRule"]["Statement"]["RateBasedStatement"]
    holds("the firewall stands in its region and scope, with health paths first", order[0] == "HealthPaths", order)
    holds("2000 requests in 300 s an address", (rate["Limit"], rate["EvaluationWindowSec"], rate["AggregateKeyType"]) == (2000, 300, "IP"), rate)
    holds("no country is in the rate rule", "GeoMatchStatement" not in json.dumps(rate), rate)
    holds("rates come before the paid groups", order.index("RateLimitRule") < order.index("AWS-AWSManagedRulesCommonRuleSet"), order)
    common = rules["AWS-AWSManagedRulesCommonRuleSet"]["Statement"]["ManagedRuleGroupStatement"]
    counted = [it["Name"] for it in common.get("RuleActionOverrides", []) if "Count" in it["ActionToUse"]]
    holds("the common rules only count large bodies", counted == ["SizeRestrictions_BODY"], counted)
    bots = rules["AWS-AWSManagedRulesBotControlRuleSet"]
    holds("bots are counted, not blocked", "Count" in bots["OverrideAction"], bots["OverrideAction"])


def balancer(moto, full):
    client = moto.client("elbv2")
    arn = client.describe_load_balancers(Names=[full])["LoadBalancers"][0]["LoadBalancerArn"]
    listeners = {it["Port"]: it for it in client.describe_listeners(LoadBalancerArn=arn)["Listeners"]}
    holds("HTTPS with TLS 1.2 or newer on 443", listeners[443]["Protocol"] == "HTTPS" and "TLS13-1-2" in listeners[443]["SslPolicy"], listeners)
    groups = {it["TargetGroupName"]: it for it in client.describe_target_groups(LoadBalancerArn=arn)["TargetGroups"]}
    probe = {name: (it["Port"], it["HealthCheckPath"], it["HealthCheckIntervalSeconds"]) for name, it in groups.items()}
    wanted = {full.replace("medeclipse-", "medeclipse-web-") + f"-{side}": (3000, "/api/health/ready", 10) for side in "ab"}
    holds("two target groups, probed at /api/health/ready every 10 s", probe == wanted, probe)
    rules = client.describe_rules(ListenerArn=listeners[443]["ListenerArn"])["Rules"]
    # arn:…:targetgroup/medeclipse-web-production-a/…: the side is the name's last letter.
    side = lambda group: group["TargetGroupArn"].split("/")[1][-1]
    weights = {
        rule["Priority"]: {side(it): it["Weight"] for it in rule["Actions"][0]["ForwardConfig"]["TargetGroups"]}
        for rule in rules if not rule["IsDefault"]
    }  # fmt: skip
    asks = {rule["Priority"]: any(it["Field"] == "http-header" for it in rule["Conditions"]) for rule in rules}
    users = [weights[it] for it in sorted(weights) if not asks[it]]
    tests = [weights[it] for it in sorted(weights) if asks[it]]
    holds("users go to side a, the test header to side b", (users, tests) == ([{"a": 100, "b": 0}], [{"b": 100}]), weights)


def buckets(moto, *names):
    client = moto.client("s3")
    for bucket in names:
        block = client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        policy = json.loads(client.get_bucket_policy(Bucket=bucket)["Policy"])
        denied = [it for it in policy["Statement"] if it["Effect"] == "Deny" and it["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}]
        kept = client.get_bucket_versioning(Bucket=bucket)["Status"]
        holds(f"{bucket}: nothing public, TLS only, versions kept", all(block.values()) and denied and kept == "Enabled", (block, policy, kept))


def keys_and_secrets(moto, name):
    client = moto.client("kms")
    aliases = {it["AliasName"]: it["TargetKeyId"] for it in client.list_aliases()["Aliases"] if it["AliasName"].startswith("alias/medeclipse-")}
    turning = {alias for alias, key in aliases.items() if client.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]}
    wide = [
        alias for alias, key in aliases.items() for it in json.loads(client.get_key_policy(KeyId=key, PolicyName="default")["Policy"])["Statement"]
        if it["Principal"] == "*" or it["Principal"] == {"AWS": "*"}
    ]  # fmt: skip
    holds(f"{len(aliases)} keys rotate, none is open to everybody", len(aliases) >= 7 and turning == set(aliases) and not wide, (aliases, wide))
    logs = next(key for alias, key in aliases.items() if alias.endswith(f"{name}-logs"))
    said = client.get_key_policy(KeyId=logs, PolicyName="default")["Policy"]
    holds("the key of the logs lets CloudWatch Logs use it", f"logs.{REGION}.amazonaws.com" in said, said)
    client = moto.client("secretsmanager")
    secrets = {it["Name"]: it for it in client.list_secrets()["SecretList"]}
    wanted = {f"medeclipse/{name}/{key}" for key in ("DATABASE_URL", "REDIS_URL", "JWT_SECRET")}
    ours = {secret: it.get("KmsKeyId", "") for secret, it in secrets.items() if secret.startswith("medeclipse/")}
    key = aliases[f"alias/medeclipse-{name}-secrets"]
    holds("one secret a key, under a key of ours, all empty", set(ours) == wanted and all(key in it for it in ours.values()) and
          not any(secrets[it].get("SecretVersionsToStages") for it in ours), secrets)  # fmt: skip


def registry_and_state(moto, terraform, root, name, account):
    repositories = moto.client("ecr").describe_repositories()["repositories"]
    if name == "production":
        it = repositories[0]
        holds("tags of the one registry never move, images are scanned and encrypted", it["imageTagMutability"] == "IMMUTABLE"
              and it["imageScanningConfiguration"]["scanOnPush"] and it["encryptionConfiguration"]["encryptionType"] == "KMS", it)  # fmt: skip
    else:
        holds("no second registry", repositories == [], repositories)
    client = moto.client("s3")
    bucket, key = f"medeclipse-terraform-state-{account}", f"{name}/terraform.tfstate"
    seen = client.head_object(Bucket=bucket, Key=key)
    holds("the state lies in the bucket, encrypted", seen.get("ServerSideEncryption") == "aws:kms", seen)
    # Somebody else plans: the lock is an object beside the state, and Terraform waits for it.
    client.put_object(Bucket=bucket, Key=f"{key}.tflock", Body=json.dumps({"ID": "1", "Who": "somebody"}).encode())
    try:
        terraform.plan(root, variables(name, "Z0123456789ABCDEFGHIJ"), "third")
        holds("a lock of somebody else holds Terraform up", False)
    except Failed as failed:
        holds("a lock of somebody else holds Terraform up", "Error acquiring the state lock" in failed.args[1], failed.args[1])
    client.delete_object(Bucket=bucket, Key=f"{key}.tflock")


def main():
    read = argparse.ArgumentParser()
    read.add_argument("program")
    read.add_argument("providers")
    read.add_argument("--plan", action="store_true")
    read.add_argument("environments", nargs="+")
    args = read.parse_args()
    if len(args.environments) > 1:
        # Most of an apply is waiting: all at once, each told when it is done.
        calls = [[sys.executable, *sys.argv[: -len(args.environments)], name] for name in args.environments]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            done = list(pool.map(lambda call: subprocess.run(call, capture_output=True, text=True), calls))
        say("\n".join(it.stdout + it.stderr for it in done).strip())
        sys.exit(max(it.returncode for it in done))
    name = args.environments[0]
    with tempfile.TemporaryDirectory() as work:
        try:
            environment(os.path.abspath(args.program), args.providers, name, args.plan, work)
        except Failed as failed:
            what, why = failed.args
            holds(f"{name}: {what}", False, "\n" + why)
    sys.exit(1 if failures else 0)


main()
