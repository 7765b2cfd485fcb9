"""Other taxonomies of harm, name by name: what a label's crosswalk may say.

Knows names as their owners write them, and where each list was read. Knows no label of ours.
"""

from collections.abc import Mapping
from types import MappingProxyType

TAXONOMIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # Amazon Rekognition moderation labels, model version 7, all three levels (docs.aws.amazon.com, "Using the image
        # and video moderation APIs"; seen on 2026-11-22).
        "rekognition": (
            *("Explicit", "Explicit Nudity", "Exposed Male Genitalia", "Exposed Female Genitalia"),
            *("Exposed Buttocks or Anus", "Exposed Female Nipple", "Explicit Sexual Activity", "Sex Toys"),
            *("Non-Explicit Nudity of Intimate parts and Kissing", "Non-Explicit Nudity", "Bare Back"),
            *("Exposed Male Nipple", "Partially Exposed Buttocks", "Partially Exposed Female Breast"),
            *("Implied Nudity", "Obstructed Intimate Parts", "Obstructed Female Nipple"),
            *("Obstructed Male Genitalia", "Kissing on the Lips", "Swimwear or Underwear"),
            *("Female Swimwear or Underwear", "Male Swimwear or Underwear", "Violence", "Weapons"),
            *("Graphic Violence", "Weapon Violence", "Physical Violence", "Self-Harm", "Blood & Gore"),
            *("Explosions and Blasts", "Visually Disturbing", "Death and Emaciation", "Emaciated Bodies"),
            *("Corpses", "Crashes", "Air Crash", "Drugs & Tobacco", "Products", "Pills"),
            *("Drugs & Tobacco Paraphernalia & Use", "Smoking", "Alcohol", "Alcohol Use", "Drinking"),
            *("Alcoholic Beverages", "Rude Gestures", "Middle Finger", "Gambling", "Hate Symbols"),
            *("Nazi Party", "White Supremacy", "Extremist"),
        ),
        # OpenAI omni-moderation. Six of them look at images: self-harm (three), sexual, violence, violence/graphic.
        "openai": (
            *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent"),
            *("self-harm", "self-harm/intent", "self-harm/instructions", "sexual", "sexual/minors"),
            *("violence", "violence/graphic"),
        ),
        # UnsafeBench (arXiv 2405.03486), after OpenAI's usage policy of 2022-04-06.
        "unsafebench": (
            *("Hate", "Harassment", "Violence", "Self-harm", "Sexual", "Shocking", "Illegal activity", "Deception"),
            *("Political", "Public and personal health", "Spam"),
        ),
        # Azure AI Content Safety, image categories; each comes with a severity.
        "azure": ("Hate", "SelfHarm", "Sexual", "Violence"),
        # LlavaGuard v1.2 policy categories.
        "llavaguard": (
            *("O1: Hate, Humiliation, Harassment", "O2: Violence, Harm, or Cruelty", "O3: Sexual Content"),
            *("O4: Nudity Content", "O5: Criminal Planning", "O6: Weapons or Substance Abuse", "O7: Self-Harm"),
            *("O8: Animal Cruelty", "O9: Disasters or Emergencies"),
        ),
        # EU DSA Transparency Database: `category` of a statement of reasons, without STATEMENT_CATEGORY_. The schema
        # in force since July 2025; read from third-party code that cites it, not from the register itself.
        "dsa": (
            *("ANIMAL_WELFARE", "CONSUMER_INFORMATION", "CYBER_VIOLENCE", "CYBER_VIOLENCE_AGAINST_WOMEN"),
            *("DATA_PROTECTION_AND_PRIVACY_VIOLATIONS", "ILLEGAL_OR_HARMFUL_SPEECH"),
            *("INTELLECTUAL_PROPERTY_INFRINGEMENTS", "NEGATIVE_EFFECTS_ON_CIVIC_DISCOURSE_OR_ELECTIONS"),
            *("NOT_SPECIFIED_NOTICE", "OTHER_VIOLATION_TC", "PROTECTION_OF_MINORS", "RISK_FOR_PUBLIC_SECURITY"),
            *("SCAMS_AND_FRAUD", "SELF_HARM", "UNSAFE_AND_PROHIBITED_PRODUCTS", "VIOLENCE"),
        ),
    }
)
"""Every name of each taxonomy that a crosswalk has a field for."""
