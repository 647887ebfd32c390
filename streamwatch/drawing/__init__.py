"""Pictures for people: annotated clips, masks over faces, evidence, and how they are muxed."""
