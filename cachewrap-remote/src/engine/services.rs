//! Which service an address names, and where its credentials are.
//!
//! | scheme | place | credentials |
//! |---|---|---|
//! | `s3` | bucket and prefix | whatever the AWS tools take: `AWS_ACCESS_KEY_ID`…, profiles, roles, the metadata of a machine |
//! | `gcs` | bucket and prefix | `GOOGLE_APPLICATION_CREDENTIALS`, those of `gcloud`, the metadata of a machine; with an `endpoint` none, unless the variable is set |
//! | `azblob` | container and prefix | `AZURE_STORAGE_ACCOUNT_KEY` (or `…_KEY`), `AZURE_STORAGE_SAS_TOKEN`, else those of the Azure tools; each also with `AZBLOB_` |
//! | `webdav`, `webdavs` | host and path | `WEBDAV_USERNAME` and `WEBDAV_PASSWORD`, or `WEBDAV_TOKEN` |

use cache_core::Environment;
use cache_core::remote::{Address, EngineError, Scheme, Trouble};
use opendal_core::{Builder, Operator};
use opendal_service_azblob::Azblob;
use opendal_service_gcs::Gcs;
use opendal_service_s3::S3;
use opendal_service_webdav::Webdav;

/// The operator for an address.
pub(super) fn operator(address: &Address, env: &Environment) -> Result<Operator, EngineError> {
    let variable = |names: &[&str]| {
        let values = names.iter().filter_map(|name| env.get(name)?.to_str());
        let mut values = values.filter(|value| !value.is_empty());
        values.next().map(str::to_owned)
    };
    let option = |name: &str| address.options.get(name).cloned();
    let (first, rest) = address
        .place
        .split_once('/')
        .unwrap_or((&address.place, ""));
    match address.scheme {
        Scheme::S3 => {
            let mut s3 = S3::default().bucket(first).root(rest);
            if let Some(endpoint) = option("endpoint") {
                s3 = s3.endpoint(&endpoint);
            }
            let region = option("region");
            let region = region.or_else(|| variable(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
            finish(s3.region(region.as_deref().unwrap_or("us-east-1")))
        }
        Scheme::Gcs => {
            let mut gcs = Gcs::default().bucket(first).root(rest);
            if let Some(endpoint) = option("endpoint") {
                gcs = gcs.endpoint(&endpoint);
                if variable(&["GOOGLE_APPLICATION_CREDENTIALS"]).is_none() {
                    gcs = gcs.skip_signature();
                }
            }
            finish(gcs)
        }
        Scheme::Azblob => {
            let account = option("account").or_else(|| {
                variable(&[
                    "AZURE_STORAGE_ACCOUNT_NAME",
                    "AZURE_STORAGE_ACCOUNT",
                    "AZBLOB_ACCOUNT_NAME",
                ])
            });
            let endpoint = option("endpoint").or_else(|| {
                let account = account.as_ref()?;
                Some(format!("https://{account}.blob.core.windows.net"))
            });
            let endpoint = endpoint.ok_or_else(|| unset("account"))?;
            let mut azblob = Azblob::default()
                .container(first)
                .root(rest)
                .endpoint(&endpoint);
            if let Some(account) = account {
                azblob = azblob.account_name(&account);
            }
            if let Some(key) = variable(&[
                "AZURE_STORAGE_ACCOUNT_KEY",
                "AZURE_STORAGE_KEY",
                "AZBLOB_ACCOUNT_KEY",
            ]) {
                azblob = azblob.account_key(&key);
            }
            if let Some(token) = variable(&["AZURE_STORAGE_SAS_TOKEN", "AZBLOB_SAS_TOKEN"]) {
                azblob = azblob.sas_token(token.trim_start_matches('?'));
            }
            finish(azblob)
        }
        Scheme::Webdav | Scheme::Webdavs => {
            let tls = if address.scheme == Scheme::Webdavs {
                "s"
            } else {
                ""
            };
            let mut webdav = Webdav::default().endpoint(&format!("http{tls}://{}", address.place));
            if let Some(name) = variable(&["WEBDAV_USERNAME"]) {
                webdav = webdav.username(&name);
            }
            if let Some(password) = variable(&["WEBDAV_PASSWORD"]) {
                webdav = webdav.password(&password);
            }
            if let Some(token) = variable(&["WEBDAV_TOKEN"]) {
                webdav = webdav.token(&token);
            }
            finish(webdav)
        }
        _ => {
            let what = format!("this release cannot reach {}:", address.scheme_name());
            Err(EngineError::new(Trouble::Confused, what))
        }
    }
}

fn unset(option: &str) -> EngineError {
    let what = format!("the option `{option}` of the URL is missing");
    EngineError::new(Trouble::Confused, what)
}

fn finish(builder: impl Builder) -> Result<Operator, EngineError> {
    // Its text may quote what it was given.
    Operator::new(builder).map_err(|e| EngineError::new(Trouble::Confused, e.message()))
}
