"""The far side: identities, intents, configurations, images, events and the operator's page."""
