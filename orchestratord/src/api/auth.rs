//! Who calls, and whether they may.
//!
//! # Invariants
//! - Keys are known by their SHA-256 only, and every comparison looks at every known key and takes
//!   the same time whether it matches.
//! - A key that is sent counts, also on loopback: a wrong one is refused, never ignored.
//! - Nodes have a token of their own, needed on loopback too; it opens nothing else.
//!
//! Not here: where keys and tokens are stored (config, `process`).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use contracts_config_schema::orchestrator::{ApiKey, AuthConfig, Scope};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use orchestrator_core::ids::TenantId;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tracing::Span;

use crate::api::error::ApiError;
use crate::edge::Peer;

/// The tenant of callers without a key.
pub const HOME_TENANT: &str = "home";

/// A key of the config that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key `{name}` has a bad `{field}`; see orchestratord.auth.keys in the config")]
pub struct BadKey {
    /// The key's name.
    pub name: String,
    /// The field.
    pub field: &'static str,
}

/// Everyone who may call.
#[derive(Debug)]
pub struct Auth {
    open_on_loopback: bool,
    keys: Vec<KnownKey>,
    node_token: [u8; 32],
    home: Caller,
}

#[derive(Debug)]
struct KnownKey {
    sha256: [u8; 32],
    caller: Caller,
    scopes: Vec<Scope>,
}

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Whose work it is.
    pub(crate) tenant: TenantId,
    /// The key's name, for logs.
    pub(crate) client: Arc<str>,
}

impl Auth {
    /// Reads the config's keys. Of `node_token` only the digest is kept.
    ///
    /// # Errors
    /// [`BadKey`] names the key and the field.
    pub fn new(config: &AuthConfig, node_token: &str) -> Result<Self, BadKey> {
        let home = TenantId::parse(HOME_TENANT).expect("the name is of the right form");
        Ok(Self {
            open_on_loopback: config.open_on_loopback,
            keys: config.keys.iter().map(known).collect::<Result<_, _>>()?,
            node_token: Sha256::digest(node_token).into(),
            home: Caller {
                tenant: home,
                client: "loopback".into(),
            },
        })
    }

    /// Who calls, if they may.
    // spec: ORCH-3035, OC-CTRL-2040, OC-CTRL-2141
    fn caller(
        &self,
        headers: &HeaderMap,
        peer: Option<Peer>,
        scope: Scope,
    ) -> Result<&Caller, ApiError> {
        let Some(key) = bearer(headers)? else {
            let open = self.open_on_loopback && peer.is_some_and(|peer| is_loopback(peer.0));
            let refusal =
                ApiError::Unauthorized("this server needs a key: send `Authorization: Bearer KEY`");
            return if open { Ok(&self.home) } else { Err(refusal) };
        };
        let digest: [u8; 32] = Sha256::digest(key).into();
        let mut found = None;
        for known in &self.keys {
            if bool::from(known.sha256.ct_eq(&digest)) {
                found = Some(known);
            }
        }
        let found = found.ok_or(ApiError::Unauthorized(
            "the key is not known here: send a right one, or none on loopback",
        ))?;
        if found.scopes.contains(&scope) {
            return Ok(&found.caller);
        }
        Err(ApiError::Forbidden {
            key: found.caller.client.to_string(),
            scope: scope_name(scope),
        })
    }

    // spec: ORCH-3403, OC-CTRL-2141
    fn check_node(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let token = bearer(headers)?.unwrap_or_default();
        let digest: [u8; 32] = Sha256::digest(token).into();
        let same: Choice = digest.ct_eq(&self.node_token);
        if bool::from(same) {
            return Ok(());
        }
        Err(ApiError::Unauthorized(
            "nodes need the node token: send the content of node.token in the data directory as \
             `Authorization: Bearer TOKEN`",
        ))
    }
}

fn known(key: &ApiKey) -> Result<KnownKey, BadKey> {
    let bad = |field| BadKey {
        name: key.name.clone(),
        field,
    };
    let tenant = TenantId::parse(&key.tenant).map_err(|_| bad("tenant"))?;
    Ok(KnownKey {
        sha256: digest_from_hex(&key.sha256).ok_or_else(|| bad("sha256"))?,
        caller: Caller {
            tenant,
            client: key.name.as_str().into(),
        },
        scopes: key.scopes.clone(),
    })
}

fn digest_from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.bytes().map(|byte| char::from(byte).to_digit(16));
    let digits = digits.collect::<Option<Vec<_>>>()?;
    let bytes: Vec<_> = digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair.get(1)?).ok())
        .collect::<Option<_>>()?;
    bytes.try_into().ok()
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let text = value.to_str().ok().and_then(|text| text.split_once(' '));
    match text {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") && !key.is_empty() => {
            Ok(Some(key))
        }
        _ => Err(ApiError::Unauthorized(
            "`Authorization` must read `Bearer KEY`",
        )),
    }
}

fn is_loopback(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

const fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Data => "data",
        Scope::Control => "control",
    }
}

/// What a route asks of its callers.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) auth: Arc<Auth>,
    pub(crate) scope: Scope,
}

/// Lets only callers with the scope through, before anything of the body is read.
pub(crate) async fn require_scope(
    State(gate): State<Gate>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    match gate
        .auth
        .caller(request.headers(), peer, gate.scope)
        .cloned()
    {
        Ok(caller) => {
            Span::current().record("tenant_id", caller.tenant.as_str());
            Span::current().record("client_id", &*caller.client);
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Lets only nodes through.
pub(crate) async fn require_node(
    State(auth): State<Arc<Auth>>,
    request: Request,
    next: Next,
) -> Response {
    match auth.check_node(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    /// A route without a gate has no callers: forgetting the gate closes the route.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or(ApiError::Unauthorized("this path is closed"))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const NODE_TOKEN: &str = "node-token";

    fn key(name: &str, scopes: &[Scope]) -> ApiKey {
        let digest = Sha256::digest(format!("{name}-secret"));
        ApiKey {
            name: name.to_owned(),
            tenant: format!("{name}-tenant"),
            sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            scopes: scopes.to_vec(),
        }
    }

    fn auth(open_on_loopback: bool) -> Auth {
        let keys = vec![
            key("dev", &[Scope::Data]),
            key("ops", &[Scope::Data, Scope::Control]),
        ];
        Auth::new(
            &AuthConfig {
                open_on_loopback,
                keys,
            },
            NODE_TOKEN,
        )
        .unwrap()
    }

    fn headers(authorization: Option<&str>) -> HeaderMap {
        let value = authorization.map(|text| (AUTHORIZATION, HeaderValue::from_str(text).unwrap()));
        value.into_iter().collect()
    }

    fn peer(text: &str) -> Option<Peer> {
        Some(Peer(text.parse().unwrap()))
    }

    // spec: ORCH-3035, OC-CTRL-2040
    #[test]
    fn loopback_is_open_only_where_the_config_says_so() {
        let none = headers(None);
        for local in ["127.0.0.1:5", "[::1]:5", "[::ffff:127.0.0.1]:5"] {
            let open = auth(true);
            let caller = open.caller(&none, peer(local), Scope::Control).unwrap();
            assert_eq!(caller.tenant.as_str(), HOME_TENANT);
            assert!(auth(false).caller(&none, peer(local), Scope::Data).is_err());
        }
        assert!(
            auth(true)
                .caller(&none, peer("10.0.0.2:5"), Scope::Data)
                .is_err()
        );
        assert!(auth(true).caller(&none, None, Scope::Data).is_err());
    }

    // spec: OC-CTRL-2040, OC-CTRL-2141
    #[test]
    fn a_key_names_the_tenant_and_opens_its_scopes_only() {
        let auth = auth(false);
        let caller = |text, scope| {
            auth.caller(&headers(Some(text)), peer("10.0.0.2:5"), scope)
                .cloned()
        };
        assert_eq!(
            caller("Bearer ops-secret", Scope::Control)
                .unwrap()
                .tenant
                .as_str(),
            "ops-tenant"
        );
        assert_eq!(
            &*caller("bearer dev-secret", Scope::Data).unwrap().client,
            "dev"
        );
        assert_eq!(
            caller("Bearer dev-secret", Scope::Control),
            Err(ApiError::Forbidden {
                key: "dev".to_owned(),
                scope: "control"
            })
        );
        for wrong in [
            "Bearer dev-secre",
            "Bearer dev-secret ",
            "Bearer ",
            "dev-secret",
            "Basic dev-secret",
        ] {
            let refusal = caller(wrong, Scope::Data).unwrap_err();
            assert!(matches!(refusal, ApiError::Unauthorized(_)), "{wrong:?}");
        }
    }

    #[test]
    fn a_wrong_key_is_refused_on_open_loopback_too() {
        let refusal = auth(true)
            .caller(&headers(Some("Bearer x")), peer("127.0.0.1:5"), Scope::Data)
            .cloned();
        assert!(matches!(refusal, Err(ApiError::Unauthorized(_))));
    }

    // spec: ORCH-3403, OC-CTRL-2141
    #[test]
    fn only_the_node_token_opens_the_door_of_nodes() {
        let auth = auth(true);
        let check = |text| auth.check_node(&headers(text));
        assert_eq!(check(Some("Bearer node-token")), Ok(()));
        for wrong in [
            None,
            Some("Bearer ops-secret"),
            Some("Bearer node-toke"),
            Some("node-token"),
        ] {
            assert!(
                matches!(check(wrong), Err(ApiError::Unauthorized(_))),
                "{wrong:?}"
            );
        }
        let as_client = auth
            .caller(&headers(Some("Bearer node-token")), None, Scope::Data)
            .cloned();
        assert!(matches!(as_client, Err(ApiError::Unauthorized(_))));
    }

    // spec: OC-CONFIG-6027
    #[test]
    fn a_key_that_cannot_be_used_is_named() {
        let config = |change: fn(&mut ApiKey)| {
            let mut key = key("dev", &[Scope::Data]);
            change(&mut key);
            Auth::new(
                &AuthConfig {
                    open_on_loopback: false,
                    keys: vec![key],
                },
                "",
            )
            .unwrap_err()
            .field
        };
        assert_eq!(config(|key| key.tenant.clear()), "tenant");
        assert_eq!(config(|key| key.sha256.truncate(63)), "sha256");
        assert_eq!(config(|key| key.sha256.replace_range(..1, "g")), "sha256");
    }
}
