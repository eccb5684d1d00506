//! What can be asked of the model of text.

use clap::{ArgAction, Args};
use serde_json::{Map, Value};

use super::Text;
use super::contexts::Contexts;
use super::embedded::moby_dick;
use crate::train::TrainError;
use crate::workloads::{Options, Workload};

/// Its text and its layers.
#[derive(Debug, Clone, Args)]
pub struct TextOptions {
    /// Use only the first N characters of the text.
    #[arg(long, value_name = "N")]
    pub text_characters: Option<usize>,
    /// Characters from which the next one is foretold.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub text_context: usize,
    /// Values that stand for a character.
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub text_embedding: usize,
    /// Units of each hidden layer, comma-separated.
    #[arg(long, value_delimiter = ',', action = ArgAction::Set, default_values_t = [256, 256])]
    pub text_hidden: Vec<usize>,
}

impl Options for TextOptions {
    fn settings(&self) -> Map<String, Value> {
        let settings = [
            ("text_context", self.text_context.into()),
            ("text_embedding", self.text_embedding.into()),
            ("text_hidden", self.text_hidden.clone().into()),
        ];
        let settings = settings.map(|(key, value): (&str, Value)| (key.to_owned(), value));
        settings.into_iter().collect()
    }

    fn open(&self) -> Result<Box<dyn Workload>, TrainError> {
        let text = moby_dick()?;
        let characters = self.text_characters.unwrap_or(text.len());
        let contexts = Contexts::new(&text, characters, self.text_context)?;
        let text = Text::new(contexts, self.text_embedding, &self.text_hidden)?;
        Ok(Box::new(text))
    }
}
