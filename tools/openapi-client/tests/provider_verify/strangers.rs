//! Paths and methods that no document names.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;

use crate::contract::Seen;
use crate::stage::Stage;
use crate::walk::{filled, take};

const METHODS: [Method; 6] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

impl Stage {
    pub(crate) async fn visit_strangers(&mut self) {
        for (document, routes) in self.routes() {
            for (path, known) in &routes {
                for method in METHODS
                    .iter()
                    .filter(|method| !known.contains(method.as_str()))
                {
                    let seen = self.knock(document, method, path).await;
                    self.check_wrong_method(&format!("{method} {path}"), &seen, known);
                }
                for stranger in [
                    format!("{path}/"),
                    format!("{path}/nothing"),
                    format!("/v9{path}"),
                ] {
                    if !self.is_known(document, &stranger) {
                        self.check_unknown_path(document, &stranger).await;
                    }
                }
            }
            for stranger in ["/", "/v1", "/v1/", "/v1/nothing", "/..", "/%00"] {
                self.check_unknown_path(document, stranger).await;
            }
        }
    }

    /// The methods of each path of each daemon, by one of the daemon's documents.
    fn routes(&self) -> BTreeMap<&'static str, BTreeMap<String, BTreeSet<String>>> {
        let mut all: BTreeMap<_, BTreeMap<_, BTreeSet<_>>> = BTreeMap::new();
        for contract in &self.walk.contracts {
            let daemon = if contract.name == "pool" {
                "pool"
            } else {
                "control"
            };
            for (method, path, _) in contract.routes() {
                let paths = all.entry(daemon).or_default();
                paths
                    .entry(filled(path, &[]))
                    .or_default()
                    .insert(method.to_uppercase());
            }
        }
        all
    }

    /// Whether a documented path could be meant.
    fn is_known(&self, document: &str, path: &str) -> bool {
        let daemon = |name: &str| name == "pool";
        let contracts = self.walk.contracts.iter();
        let mut routes = contracts
            .filter(|contract| daemon(contract.name) == daemon(document))
            .flat_map(|contract| contract.routes());
        routes.any(|(_, template, _)| {
            let fits =
                |(part, of): (&str, &str)| part == of || (of.starts_with('{') && !part.is_empty());
            let [parts, of] = [path, template].map(|path| path.split('/').collect::<Vec<_>>());
            parts.len() == of.len() && parts.into_iter().zip(of).all(fits)
        })
    }

    async fn knock(&mut self, document: &str, method: &Method, path: &str) -> Seen {
        self.walk.visits += 1;
        let url = format!("{}{path}", self.walk.base(document));
        let mut request = self.walk.http.request(method.clone(), url);
        if document == "pool" || path.starts_with("/v1/nodes/") {
            request = request.bearer_auth(&self.node_token);
        }
        take(request.header("x-correlation-id", "stranger-1")).await
    }

    fn check_wrong_method(&mut self, what: &str, seen: &Seen, known: &BTreeSet<String>) {
        // Whoever reads may ask for the head alone.
        let allowed: BTreeSet<_> = seen
            .header("allow")
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .map(str::to_owned)
            .collect();
        let allowed: BTreeSet<_> = allowed
            .into_iter()
            .filter(|method| method != "HEAD")
            .collect();
        let good = seen.status == 405
            && seen.body.is_empty()
            && allowed == *known
            && seen.header("x-correlation-id") == Some("stranger-1");
        if !good {
            self.walk.problems.push(format!(
                "{what}: no bare 405 that allows {known:?}: {seen:?}"
            ));
        }
    }

    async fn check_unknown_path(&mut self, document: &'static str, path: &str) {
        let seen = self.knock(document, &Method::GET, path).await;
        let envelope = serde_json::json!({ "$ref": "#/components/schemas/ErrorBody" });
        let violations = self
            .walk
            .contract(document)
            .violations(&envelope, &seen.json());
        let good = (seen.status, seen.code().as_str()) == (404, "NOT_FOUND")
            && violations.is_empty()
            && seen.header("x-correlation-id") == Some("stranger-1");
        if !good {
            self.walk.problems.push(format!(
                "{document} {path}: no 404 with an envelope: {seen:?}"
            ));
        }
    }
}
