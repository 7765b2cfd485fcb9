"""A library in which no lint finds anything: what defects are planted in."""

CLEAN = """\
assay_library: 1
name: clean
background: {en: [a tree, a cloud, a street], zh: [一棵树, 云, 街道]}
categories:
  violence:
    labels:
      weapons:
        description: Things made to wound
        no_evidence: true
        crosswalk: {rekognition: [Weapons], openai: [violence]}
        counter_prompts: {en: [a toy, a tool, a broom], zh: [玩具, 工具, 扫帚]}
        concepts:
          crossbow: {prompts: {en: [a crossbow], zh: [弩]}}
      firearms:
        description: Guns
        parent: weapons
        no_evidence: true
        crosswalk: {rekognition: [Weapons]}
        counter_prompts: {en: [a hair dryer, a cordless drill, a water pistol], zh: [吹风机, 电钻, 水枪]}
        concepts:
          pistol: {prompts: {en: [a pistol, a revolver], zh: [手枪]}}
          rifle: {prompts: {en: [a rifle], zh: [步枪]}}
          musket: {status: retired, date: 2026-01-01, prompts: {en: [a musket], zh: [火枪]}}
  substances:
    labels:
      alcohol:
        description: Drinks with alcohol
        crosswalk: {rekognition: [Alcohol]}
        counter_prompts: {en: [a cup of tea, a glass of milk, a bottle of water], zh: [一杯茶, 一杯牛奶, 一瓶水]}
        concepts:
          beer: {prompts: {en: [a glass of beer], zh: [一杯啤酒]}}
      tobacco:
        description: Tobacco; not decided yet
        status: draft
        owner: Mei
        crosswalk: {rekognition: [Smoking]}
        counter_prompts: {en: [a candle, a pencil, a straw], zh: [蜡烛, 铅笔, 吸管]}
        concepts:
          cigarette: {prompts: {en: [a cigarette], zh: [香烟]}}
"""
