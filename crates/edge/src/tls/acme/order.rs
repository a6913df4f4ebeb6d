//! Orders one certificate from an ACME server: account, challenge, request, chain (RFC 8555, 7). Keeps the account's key on disk.
//! Decides nothing of when; its callers bound how long.

use super::challenges::{Challenges, Shown};
use super::kept::{self, Kept};
use crate::limits;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder,
    Order, OrderStatus, RetryPolicy,
};
use manifest::tls::{Acme as Settings, Challenge};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::crypto::aws_lc_rs::sign::any_supported_type;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

/// What servers call an account they do not know (RFC 8555, 6.7).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// A chain of certificates and its key, PEM.
pub(super) struct Got {
    pub(super) chain: String,
    pub(super) key: String,
}

/// Who orders.
#[derive(Debug)]
pub(super) struct Customer {
    settings: Settings,
    kept: Kept,
    challenges: Arc<Challenges>,
    /// One at a time looks for the account: two would make two.
    account: tokio::sync::Mutex<()>,
}

impl Customer {
    pub(super) fn new(settings: Settings, kept: Kept, challenges: Arc<Challenges>) -> Self {
        Self { settings, kept, challenges, account: tokio::sync::Mutex::new(()) }
    }

    /// Orders a certificate for a name and proves by this challenge that it leads here.
    pub(super) async fn order(&self, name: &str, challenge: Challenge) -> Result<Got, Error> {
        let names = [Identifier::Dns(name.to_owned())];
        let new = NewOrder::new(&names);
        let mut order = match self.account().await?.new_order(&new).await {
            Err(Error::Api(problem)) if problem.r#type.as_deref() == Some(NO_ACCOUNT) => {
                // A server that lost its accounts, as test servers do: another one is made.
                let _gone = std::fs::remove_file(self.kept.account());
                self.account().await?.new_order(&new).await?
            }
            ordered => ordered?,
        };
        let _shown = self.prove(&mut order, name, challenge).await?;
        // With pauses that double, a client whose handshake waits would be asked for too late: after 4 s comes 8 s.
        let patience = RetryPolicy::new().backoff(1.2).timeout(limits::ACME_ATTEMPT);
        let status = order.poll_ready(&patience).await;
        if !matches!(status, Ok(OrderStatus::Ready)) {
            return Err(match (refused(&mut order).await, status) {
                (Some(why), _) => Error::Other(why.into()),
                (None, Ok(status)) => Error::Other(format!("the order became {status:?}").into()),
                (None, Err(error)) => error,
            });
        }
        let key = KeyPair::generate().map_err(other)?;
        let mut params = CertificateParams::new([name.to_owned()]).map_err(other)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(other)?;
        order.finalize_csr(request.der()).await?;
        Ok(Got { chain: order.poll_certificate(&patience).await?, key: key.serialize_pem() })
    }

    /// Returns the account kept on disk; makes one where there is none.
    async fn account(&self) -> Result<Account, Error> {
        let _one_at_a_time = self.account.lock().await;
        let builder = || match &self.settings.root {
            Some(root) => Account::builder_with_root(root).map_err(|error| of_root(root, &error)),
            None => Account::builder(),
        };
        let read = |path: &Path| {
            let text = std::fs::read(path).ok()?;
            serde_json::from_slice::<AccountCredentials>(&text).ok()
        };
        let path = self.kept.account();
        if let Some(credentials) = read(&path) {
            return builder()?.from_credentials(credentials).await;
        }
        let contact: Vec<&str> = self.settings.contact.iter().map(String::as_str).collect();
        // The manifest says so by `terms`, without which it has no `acme`.
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) = builder()?.create(&new, self.settings.directory.clone(), None).await?;
        let text = serde_json::to_vec(&credentials)?;
        // Without it every attempt would make another account, and servers count those.
        kept::write(path, text).await.map_err(|error| Error::Other(error.into()))?;
        Ok(account)
    }

    /// Shows what the challenges of an order ask for, and says that it is there.
    async fn prove(&self, order: &mut Order, name: &str, by: Challenge) -> Result<Vec<Shown>, Error> {
        let kind = match by {
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Challenge::Http01 => ChallengeType::Http01,
        };
        let mut shown = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let Some(mut challenge) = authorization.challenge(kind.clone()) else {
                let word = if by == Challenge::Http01 { "http-01" } else { "tls-alpn-01" };
                return Err(Error::Other(format!("the server offers no challenge {word}").into()));
            };
            let answer = challenge.key_authorization();
            shown.push(match by {
                Challenge::Http01 => self.challenges.show_token(&challenge.token, answer.as_str()),
                Challenge::TlsAlpn01 => {
                    let certificate = proof(name, answer.digest().as_ref())?;
                    self.challenges.show_certificate(name, Arc::new(certificate))
                }
            });
            challenge.set_ready().await?;
        }
        Ok(shown)
    }
}

fn other(error: rcgen::Error) -> Error {
    Error::Other(error.into())
}

fn of_root(root: &Path, error: &Error) -> Error {
    Error::Other(format!("cannot read `root` {}: {error}", root.display()).into())
}

/// Returns why a server did not believe that the name leads here.
async fn refused(order: &mut Order) -> Option<String> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let authorization = authorization.refresh().await.ok()?;
        let failed = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(detail) = failed.and_then(|problem| problem.detail.clone()) {
            return Some(detail);
        }
    }
    None
}

/// Returns the certificate that answers a challenge (RFC 8737, 3).
fn proof(name: &str, digest: &[u8]) -> Result<CertifiedKey, Error> {
    let key = KeyPair::generate().map_err(other)?;
    let mut params = CertificateParams::new([name.to_owned()]).map_err(other)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate: CertificateDer<'static> = params.self_signed(&key).map_err(other)?.der().clone();
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signing = any_supported_type(&der).map_err(|error| Error::Other(error.into()))?;
    Ok(CertifiedKey::new(vec![certificate], signing))
}

/// Words an error with its causes, on one line.
pub(super) fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(&format!(": {cause_text}"));
        }
        source = cause.source();
    }
    text
}
