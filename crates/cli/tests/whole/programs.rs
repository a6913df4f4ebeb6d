//! Ships programs that know nothing of this one: nginx as Debian packs it, Python's web server, the clinic.

use crate::UNWATCHED;
use crate::harness::{Env, eventually, installed, processes_of};
use crate::traffic::Traffic;

/// Deploys folder `one`, then folder `two` under load, then goes back; the page says which folder serves.
fn ship(env: &Env, path: &str, clients: usize, rate: f64) {
    env.up().deploy(&["--version", "one", "--artifact", "one"], 0);
    assert_eq!(env.get(path).body, "page one\n");
    let traffic = Traffic::gets(env, path, clients, rate);

    env.deploy(&["--version", "two", "--artifact", "two"], 0);
    assert_eq!(env.get(path).body, "page two\n");
    traffic.more(100);
    env.ok(&["rollback"]);
    assert_eq!(env.get(path).body, "page one\n");
    traffic.more(100);

    let report = traffic.end_clean(path);
    assert!(report.counts.by_release.len() == 2, "{report}");
}

fn pages(env: &Env, program: &str) {
    for version in ["one", "two"] {
        let file = env.write_program(&format!("{version}/index.html"), &format!("page {version}\n"));
        assert!(file.exists());
        env.write_program(&format!("{version}/run.sh"), program);
    }
}

/// Writes its configuration, then becomes nginx; the workers stay in its process group, and with its user: a state
/// directory is private to whoever runs `up`.
const NGINX: &str = r#"#!/bin/sh
mkdir -p "$WORK"
cat > "$WORK/nginx.conf" <<END
daemon off;
user root;
worker_processes 2;
pid $WORK/pid;
error_log stderr;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path $WORK/body; proxy_temp_path $WORK/proxy; fastcgi_temp_path $WORK/fastcgi;
  uwsgi_temp_path $WORK/uwsgi; scgi_temp_path $WORK/scgi;
  types { text/html html; }
  server { listen $HOST:$PORT; root $PWD; }
}
END
exec /usr/sbin/nginx -c "$WORK/nginx.conf"
"#;

#[test]
fn nginx_as_debian_packs_it_is_shipped_switched_and_rolled_back() {
    if installed("nginx").is_none() {
        println!("skipped: nginx is not installed");
        return;
    }
    let env = Env::new("");
    pages(&env, NGINX);
    env.write_manifest(&format!(
        "[service.web]\nartifact = \"one\"\ncommand = [\"./run.sh\"]\nreplicas = 2\nenv = {{ WORK = \"{}/nginx-${{PORT}}\" }}\n\
         health = {{ ready = \"/index.html\", interval = \"200ms\" }}\n[service.web.rollout]\n{UNWATCHED}\n",
        env.folder.path().display()
    ));

    ship(&env, "/index.html", 16, 800.0);

    env.ok(&["down"]);
    assert_eq!(processes_of(env.folder.path()), Vec::<u32>::new(), "workers end with their master");
}

#[test]
fn python_s_web_server_is_shipped_switched_and_rolled_back() {
    if installed("python3").is_none() {
        println!("skipped: python3 is not installed");
        return;
    }
    let env = Env::new("");
    pages(&env, "");
    env.write_manifest(&format!(
        "[service.web]\nartifact = \"one\"\ncommand = [\"python3\", \"-m\", \"http.server\", \"${{PORT}}\", \"--bind\", \"${{HOST}}\"]\n\
         replicas = 2\n[service.web.rollout]\n{UNWATCHED}\n"
    ));

    ship(&env, "/index.html", 8, 200.0);
}

#[test]
fn o15_a_page_of_the_former_release_finds_its_hashed_files_as_long_as_that_is_kept() {
    if installed("python3").is_none() {
        println!("skipped: python3 is not installed");
        return;
    }
    let env = Env::new("");
    env.write_program("one/app.11111111.js", "one's\n");
    env.write_program("two/app.22222222.js", "two's\n");
    env.write_manifest(
        "[service.web]\nartifact = \"one\"\ncommand = [\"python3\", \"-m\", \"http.server\", \"${PORT}\", \"--bind\", \"${HOST}\"]\n\
         [service.web.rollout]\nbake = \"0s\"\ndrain = \"1s\"\nkeep_hot = \"6s\"\n",
    );
    env.up().deploy(&["--version", "one", "--artifact", "one"], 0);

    env.deploy(&["--version", "two", "--artifact", "two"], 0);
    let (old, new) = (env.get("/app.11111111.js"), env.get("/app.22222222.js"));

    assert_eq!(
        (old.status, old.body.as_str(), old.header("x-medeclipse-replayed").as_deref()),
        (200, "one's\n", Some("2"))
    );
    assert_eq!((new.status, new.body.as_str(), new.header("x-medeclipse-replayed")), (200, "two's\n", None));
    assert_eq!(env.get("/app.33333333.js").status, 404);
    eventually("the former release is gone", 15, || {
        (env.get("/app.11111111.js").status == 404).then_some(())
    });
    assert_eq!(env.get("/app.22222222.js").status, 200);
}

#[test]
fn the_clinic_is_shipped_switched_and_rolled_back_as_a_folder() {
    let env = Env::clinic(UNWATCHED);
    for version in ["one", "two"] {
        let folder = env.folder.path().join(version);
        std::fs::create_dir(&folder).unwrap();
        std::fs::copy(crate::harness::clinic(), folder.join("clinic")).unwrap();
        std::fs::write(folder.join("version"), version).unwrap();
    }
    let run = "command  = [\"/bin/sh\", \"-c\", \"CLINIC_VERSION=$(cat version) exec ./clinic\"]";
    env.edit("command  = [\"./clinic\"]", run);
    env.up().deploy(&["--version", "one", "--artifact", "one"], 0);
    let traffic = Traffic::clinic(&env, 16, 8, None);

    env.deploy(&["--version", "two", "--artifact", "two"], 0);
    assert_eq!(env.version(), "two");
    traffic.more(100);
    env.ok(&["rollback"]);
    assert_eq!(env.version(), "one");
    traffic.more(100);

    let report = traffic.end_clean("clinic");
    assert_eq!(report.counts.by_version.keys().collect::<Vec<_>>(), ["one", "two"]);
    eventually("the last answers are of one", 5, || Some(()).filter(|()| env.version() == "one"));
}
