// Somebody who uses no mouse: from one thing to the next with Tab, as it is read out to them.

/** Their keyboard, in a page; counts what they press. */
export class Keyboard {
  letters = 0;
  others = 0;

  constructor(page) {
    this.page = page;
  }

  async press(key) {
    this.others += 1;
    await this.page.keyboard.press(key);
  }

  /** On to whatever is read out like this. */
  async go(name) {
    for (let step = 0; step < 120; step += 1) {
      await this.press("Tab");
      const reached = await this.page.evaluate(() => {
        const here = document.activeElement;
        return (here?.labels?.[0]?.textContent ?? here?.textContent ?? "").trim();
      });
      if (reached === name || reached.startsWith(`${name} `)) return;
    }
    throw new Error(`the keyboard does not get to ${name} on ${this.page.url()}`);
  }

  /** To a link or a button, and where it leads. */
  async follow(name) {
    await this.go(name);
    const arrives = this.page.waitForEvent("domcontentloaded");
    await this.press("Enter");
    await arrives;
    await this.page.waitForLoadState("load");
  }

  /** To one of several answers: into the group with Tab, and where only one can be chosen on with the arrows. */
  async pick(name) {
    for (let step = 0; step < 120; step += 1) {
      await this.press("Tab");
      const reached = await this.page.evaluate((wanted) => {
        const label = (element) => (element?.labels?.[0]?.textContent ?? "").trim();
        const here = document.activeElement;
        if (label(here) === wanted) return "there";
        const group = here?.type === "radio" ? [...document.getElementsByName(here.name)] : [];
        return group.some((each) => label(each) === wanted) ? "beside" : "elsewhere";
      }, name);
      if (reached === "there") return this.press("Space");
      if (reached === "beside") return this.along(name);
    }
    throw new Error(`the keyboard does not get to ${name} on ${this.page.url()}`);
  }

  async along(name) {
    for (let step = 0; step < 20; step += 1) {
      await this.press("ArrowDown");
      const label = await this.page.evaluate(() => document.activeElement?.labels?.[0]?.textContent.trim());
      if (label === name) return;
    }
    throw new Error(`the arrows do not get to ${name} on ${this.page.url()}`);
  }

  /** Into a field. */
  async type(name, text) {
    await this.go(name);
    this.letters += text.length;
    await this.page.keyboard.type(text);
  }
}
