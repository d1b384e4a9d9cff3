//! What is asked of Prometheus and Alertmanager.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Client, Url};
use serde_json::Value;

/// Both servers.
pub(crate) struct Api {
    client: Client,
    prometheus: Url,
    alertmanager: Url,
}

impl Api {
    pub(crate) fn new(prometheus: Url, alertmanager: Url) -> anyhow::Result<Self> {
        let client = Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?;
        Ok(Api { client, prometheus, alertmanager })
    }

    /// The `data` of an answer of Prometheus.
    pub(crate) async fn prometheus(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let mut url = self.prometheus.join("api/v1/")?.join(path)?;
        for (name, value) in query {
            url.query_pairs_mut().append_pair(name, value);
        }
        // What is wrong with a query stands in the body of the error.
        let mut answer: Value = self.client.get(url).send().await?.json().await?;
        if answer["status"] != "success" {
            bail!("{}", answer["error"].as_str().unwrap_or("no answer of Prometheus"));
        }
        Ok(answer["data"].take())
    }

    /// How many series of a query have a value that is a number.
    pub(crate) async fn series(&self, query: &str) -> anyhow::Result<usize> {
        let data = self.prometheus("query", &[("query", query)]).await?;
        let series = data["result"].as_array().context("an answer without a result")?;
        let value = |series: &Value| series["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
        Ok(series.iter().filter_map(value).filter(|value| !value.is_nan()).count())
    }

    /// The version of Alertmanager.
    pub(crate) async fn alertmanager(&self) -> anyhow::Result<String> {
        let status: Value = self.client.get(self.alertmanager.join("api/v2/status")?).send().await?.json().await?;
        let version = status["versionInfo"]["version"].as_str().context("no answer of Alertmanager")?;
        Ok(version.to_owned())
    }

    /// A page as text, in the format that is asked for.
    pub(crate) async fn text(&self, url: Url, accept: &str) -> anyhow::Result<String> {
        let answer = self.client.get(url).header("accept", accept).send().await?.error_for_status()?;
        Ok(answer.text().await?)
    }
}
