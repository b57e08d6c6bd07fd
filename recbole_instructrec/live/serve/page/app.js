// The page of `instructrec serve`: ask, see a list with reasons, react, ask on.
//
// Whatever comes from people or data is put in as text, never as markup.

const SIZE = 10; // items of a list
const PATIENCE = 60_000; // milliseconds
const LOG_KEPT = 200;

// Stands for the last request once more, with what was said meanwhile.
const AGAIN = null;

// --- words ---------------------------------------------------------------------------------------------------------

const STRINGS = {
  en: {
    tagline: "Say what you feel like.",
    language: "Language of this page",
    skip: "Skip to the request",
    greetKnown: "Welcome back, {user}",
    greetNew: "Hello, {user}",
    greetGuest: "Hello, guest",
    greetNobody: "Hello",
    aboutNew: "Nothing is known of you yet. React to what you see, and the list follows.",
    whoElse: "Somebody else?",
    whoGuest: "Say who you are",
    whoLabel: "Your name; none for a guest",
    whoButton: "Begin",
    history: "What you took before",
    historyNone: "Nothing yet.",
    reacted: "What you said of items",
    served: "{dataset}: {items} items with {attributes} attributes. Understands {languages}. Model version {version}.",
    question: "What do you feel like?",
    placeholder: "In your own words",
    placeholderOn: "Go on, or ask anew",
    placeholderIn: "In your own words, in {languages}",
    ask: "Ask",
    asking: "Asking…",
    hideSeen: "Hide what I took",
    hideUnset: "(not chosen: as learned)",
    variety: "Variety",
    startOver: "Start over",
    more: "More",
    retry: "Try again",
    dismiss: "Close",
    welcome: "For example",
    welcomeHint: "Then go on from the list: {then}.",
    hintLike: "more like the second one",
    hintNot: "but no {one}",
    hintMore: "more",
    exampleNot: "{one}, but not {two}",
    exampleOnly: "only {one}",
    exampleBit: "a bit of {one}",
    exampleAny: "Whatever fits me",
    heard: "Heard",
    chips: "What was understood. Press one to leave it out.",
    chipWant: "{attribute}",
    chipAvoid: "not {attribute}",
    chipSure: "{n} sure",
    chipHeardIn: "heard in {words}",
    chipLeftOut: "left out",
    chipAsk: "Press to leave it out, or to have it back.",
    degreeLittle: "a bit",
    degreeOnly: "only",
    nothingUnderstood: "No attribute was recognised in it. The list goes by your words as a whole and by what you took.",
    results: "Your list",
    noResults: "Nothing fits. Ask for less, or start over.",
    listed: "{n} items. The first is {title}.",
    listedNone: "No items.",
    changedNothing: "The list stays as it is.",
    changedOrder: "The same items, in another order.",
    changedNew: "New: {titles}.",
    changedGone: "Gone: {titles}.",
    changedMore: "{titles} and {n} more",
    comma: ", ",
    between: " ", // sentences
    deltaNew: "new",
    deltaUp: "up {n}",
    deltaDown: "down {n}",
    like: "Like",
    liked: "Liked",
    dislike: "Dislike",
    disliked: "Disliked",
    seen: "Seen it",
    seenDone: "Seen",
    rate: "Rate",
    rateItem: "Rate {title}",
    rateTo: "{n} of {most}",
    similar: "More like this",
    saidSimilar: "more like {title}",
    didLike: "You like {title}.",
    didDislike: "You do not like {title}.",
    didSeen: "You know {title}.",
    didRating: "You gave {title} {n} of {most}.",
    notedLike: "Noted: you like it.",
    notedDislike: "Noted: not for you.",
    notedSeen: "Noted: you know it.",
    notedRating: "Noted: {n} of {most}.",
    undo: "Undo",
    undone: "Taken back: what you said of {title}.",
    already: "That is noted already.",
    leftList: "It has left the list.",
    whyWords: "Heard in",
    whyHistory: "Goes with, of what you took",
    whyNone: "No more is known of why.",
    itemId: "Item {id}",
    switchedOff: "“{attribute}” does not count any more.",
    switchedOn: "“{attribute}” counts again.",
    log: "Conversation",
    logEmpty: "What you ask and what comes of it will stand here.",
    logYou: "You",
    logService: "Service",
    logAny: "(whatever fits me)",
    logRecall: "Put it into the box again",
    logBegun: "A conversation with {user} began.",
    logFresh: "The conversation had ended, so a new one was begun.",
    nothingRead: "There was nothing in it that could be read.",
    tokenLabel: "Token of this service",
    tokenButton: "Use it",
    tokenHint: "Whoever runs the service has it. It is kept until you close this tab.",
    troubleToken: "This service asks for a token.",
    troubleWrongToken: "That is not the token of this service.",
    troubleHurry: "That was too much at once. Wait a moment, then try again.",
    troubleSilent: "The service does not answer. See that it runs and that you are connected, then try again.",
    troubleRefused: "{detail}",
    troubleStatus: "The service cannot answer that (status {status}).",
    troublePage: "Something went wrong in this page. Load it again; what you did is stored.",
  },
  zh: {
    tagline: "想看什么，说出来。",
    language: "页面语言",
    skip: "跳到输入框",
    greetKnown: "欢迎回来，{user}",
    greetNew: "你好，{user}",
    greetGuest: "你好，访客",
    greetNobody: "你好",
    aboutNew: "我们还不了解你。对列表作出反应，推荐就会随之改变。",
    whoElse: "换一个人",
    whoGuest: "告诉我你是谁",
    whoLabel: "你的名字（不填则为访客）",
    whoButton: "开始",
    history: "你以前选过的",
    historyNone: "还没有。",
    reacted: "你对条目的反应",
    served: "{dataset}：{items} 个条目，{attributes} 种属性。能听懂{languages}。模型版本 {version}。",
    question: "你现在想要什么？",
    placeholder: "用自己的话说",
    placeholderOn: "接着说，或另提要求",
    placeholderIn: "请用{languages}说（此模型只听懂{languages}）",
    ask: "推荐",
    asking: "正在找…",
    hideSeen: "隐藏我选过的",
    hideUnset: "（未选择：按学到的来）",
    variety: "多样性",
    startOver: "重新开始",
    more: "换一批",
    retry: "重试",
    dismiss: "关闭",
    welcome: "比如",
    welcomeHint: "之后可以接着列表说，例如{then}。",
    hintLike: "再来点像第二部的",
    hintNot: "但不要{one}",
    hintMore: "换一批",
    exampleNot: "{one}，但不要{two}",
    exampleOnly: "只要{one}",
    exampleBit: "来一点{one}",
    exampleAny: "随便，适合我的",
    heard: "听到的",
    chips: "听懂的内容，按一下可以去掉",
    chipWant: "{attribute}",
    chipAvoid: "不要 {attribute}",
    chipSure: "把握 {n}",
    chipHeardIn: "来自 {words}",
    chipLeftOut: "已去掉",
    chipAsk: "按一下去掉，再按恢复。",
    degreeLittle: "一点点",
    degreeOnly: "只要",
    nothingUnderstood: "没有认出具体的属性。列表依据整句话和你的历史。",
    results: "你的列表",
    noResults: "没有合适的。请放宽要求，或重新开始。",
    listed: "共 {n} 个，第一个是 {title}。",
    listedNone: "没有条目。",
    changedNothing: "列表没有变化。",
    changedOrder: "条目不变，次序变了。",
    changedNew: "新出现：{titles}。",
    changedGone: "不再列出：{titles}。",
    changedMore: "{titles} 等（另有 {n} 个）",
    comma: "、",
    between: "",
    deltaNew: "新",
    deltaUp: "升 {n} 位",
    deltaDown: "降 {n} 位",
    like: "喜欢",
    liked: "已喜欢",
    dislike: "不喜欢",
    disliked: "已不喜欢",
    seen: "看过",
    seenDone: "已看过",
    rate: "评分",
    rateItem: "给 {title} 评分",
    rateTo: "{n} 分，满分 {most}",
    similar: "更多类似的",
    saidSimilar: "更多像{title}那样的",
    didLike: "你喜欢 {title}。",
    didDislike: "你不喜欢 {title}。",
    didSeen: "你看过 {title}。",
    didRating: "你给 {title} 打了 {n} 分（满分 {most}）。",
    notedLike: "已记下：你喜欢。",
    notedDislike: "已记下：你不喜欢。",
    notedSeen: "已记下：你看过。",
    notedRating: "已记下：{n} 分（满分 {most}）。",
    undo: "撤回",
    undone: "已撤回你对 {title} 的反应。",
    already: "已经记下了。",
    leftList: "它已离开列表。",
    whyWords: "听到的词",
    whyHistory: "与你选过的相配",
    whyNone: "没有更多的理由。",
    itemId: "条目 {id}",
    switchedOff: "“{attribute}”不再算数。",
    switchedOn: "已恢复 {attribute}。",
    log: "对话",
    logEmpty: "你的要求和结果会依次写在这里。",
    logYou: "你",
    logService: "服务",
    logAny: "（随便，适合我的）",
    logRecall: "再放进输入框",
    logBegun: "与 {user} 的对话开始了。",
    logFresh: "原来的对话已结束，已开始新的对话。",
    nothingRead: "里面没有能读的内容。",
    tokenLabel: "本服务的令牌",
    tokenButton: "使用",
    tokenHint: "向运行此服务的人索取。关闭此标签页前一直保留。",
    troubleToken: "本服务需要令牌。",
    troubleWrongToken: "令牌不对。",
    troubleHurry: "请求太多了。请稍等片刻再试。",
    troubleSilent: "服务没有回应。请确认它在运行、网络已连接，然后重试。",
    troubleRefused: "服务答复：{detail}",
    troubleStatus: "服务无法回答（状态 {status}）。",
    troublePage: "页面出了问题。请重新载入；你做过的都已保存。",
  },
};

const LANGUAGE_TAGS = { en: "en", zh: "zh-CN" };

/** A string of the page's language, with its places filled. */
function t(key, values = {}) {
  return STRINGS[state.language][key].replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/** A number as people of the page's language write it. */
function number(value, options) {
  return new Intl.NumberFormat(LANGUAGE_TAGS[state.language], options).format(value);
}

const percent = (share) => number(share, { style: "percent", maximumFractionDigits: 0 });

// --- what the browser remembers --------------------------------------------------------------------------------------

/** A place that keeps strings; where the browser forbids that, they last as long as the page. */
function kept(find) {
  const own = new Map();
  const safely = (action, otherwise) => {
    try {
      return action(find());
    } catch {
      return otherwise();
    }
  };
  return {
    get: (key) => safely((place) => place.getItem(key), () => own.get(key) ?? null),
    set: (key, value) => safely((place) => place.setItem(key, value), () => own.set(key, value)),
    remove: (key) => safely((place) => place.removeItem(key), () => own.delete(key)),
  };
}

const browser = kept(() => window.localStorage);
const tab = kept(() => window.sessionStorage);
const USER = "instructrec.user";
const LANGUAGE = "instructrec.language";
const TOKEN = "instructrec.token";

// --- state -----------------------------------------------------------------------------------------------------------

const state = {
  language: "en",
  about: null,
  session: null, // name of the conversation
  user: null,
  guest: true,
  known: false,
  history: [],
  reacted: [], // items with the reactions that stand
  titles: new Map(), // of items by id, as far as they have been met
  answer: null,
  chips: [], // {attribute, sign, confidence, words, on}
  note: "",
  fresh: false, // the conversation is a new one, which does not know the list
  before: null, // places of the list that this one replaced, by id; null for another request
  reactions: new Map(), // by item: {liking, seen, rating, last, pending}
  receipt: null, // {id, title, place, key, values} of the item that was reacted to last, if it left the list
  open: new Set(), // items whose details are shown
  hide: null, // null until chosen
  hideTold: null,
  log: [],
  status: null,
  trouble: null, // {error, retry}
  asking: false,
};

const $ = (id) => document.getElementById(id);

// --- the service -----------------------------------------------------------------------------------------------------

/** What the service did not do. Kinds: token, hurry, ended, refused, silent. */
class Trouble extends Error {
  constructor(kind, status = 0, detail = "") {
    super(detail || kind);
    Object.assign(this, { kind, status, detail });
  }
}

async function call(path, body, method = body === undefined ? "GET" : "POST") {
  const headers = {};
  const token = tab.get(TOKEN);
  // A header holds bytes: those of the token, one character each.
  if (token) headers.Authorization = `Bearer ${String.fromCharCode(...new TextEncoder().encode(token))}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const request = { method, headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) };
  let response;
  let content = null;
  try {
    response = await fetch(path, body === undefined ? request : { ...request, body: JSON.stringify(body) });
  } catch {
    throw new Trouble("silent");
  }
  try {
    content = await response.json();
  } catch {
    if (response.ok) throw new Trouble("silent");
  }
  if (response.ok) return content;
  const detail = typeof content?.error === "string" ? content.error : "";
  const ended = response.status === 404 && detail.startsWith("session:");
  const kind = { 401: "token", 429: "hurry" }[response.status] ?? (ended ? "ended" : "refused");
  throw new Trouble(kind, response.status, detail);
}

const ofSession = (rest) => `/api/sessions/${encodeURIComponent(state.session)}/${rest}`;

/** Begin a conversation; without a name as a guest. */
async function begin(name) {
  const opened = await call("/api/sessions", { user: name });
  Object.assign(state, { session: opened.session, user: opened.user, known: opened.known, hideTold: null });
  takeHistory(opened.history);
  takeReactions(opened.reactions);
  renderWho();
}

/** Do something in the conversation; in a new one where it has ended. */
async function inSession(action) {
  if (!state.session) await start();
  try {
    return await action();
  } catch (error) {
    if (error.kind !== "ended") throw error;
    await begin(state.user);
    state.fresh = true;
    addLog("did", { key: "logFresh" });
    return action();
  }
}

const remembered = () => browser.get(USER) || null;

function takeHistory(history) {
  state.history = history;
  for (const item of history) state.titles.set(item.id, item.title);
}

/** The reactions that stand, as the service knows them; what is on its way stays. */
function takeReactions(items) {
  state.reacted = items;
  const known = new Map();
  for (const { id, reactions } of items) {
    const made = reactions
      .filter(({ event }) => event in DID)
      .reduce((before, { event, rating }) => afterReaction(before, event, rating), {});
    if (made.last) known.set(id, made);
  }
  for (const id of new Set([...known.keys(), ...state.reactions.keys()])) {
    if (state.reactions.get(id)?.pending) continue;
    if (known.has(id)) state.reactions.set(id, known.get(id));
    else state.reactions.delete(id);
    renderCard(id);
  }
}

// --- one thing after the other -----------------------------------------------------------------------------------------

let queue = Promise.resolve();

/** Do a task when those before it are done; what goes wrong is told, and can be tried again. */
function enqueue(task) {
  queue = queue.then(async () => {
    try {
      await task();
      showTrouble(null);
    } catch (error) {
      if (!(error instanceof Trouble)) console.error(error);
      showTrouble({ error, retry: () => enqueue(task) });
    }
  });
  return queue;
}

// --- asking ------------------------------------------------------------------------------------------------------------

const leftOut = () => [...new Set(state.chips.filter((chip) => !chip.on).map((chip) => chip.attribute))];

/**
 * Send a request.
 *
 * text is sent; fresh stands for it in a new conversation, in which the request that the list answers is made again
 * first; without holds the attributes that are not meant, where the service does not know that of itself.
 */
async function send({ text, fresh = text, without }) {
  const ask = (words, left = without) => {
    const body = { text: words, k: SIZE, without: left, diversity: Number($("variety").value), language: state.language };
    if (state.hide !== null && state.hide !== state.hideTold) body.hide_seen = state.hide;
    return call(ofSession("ask"), body);
  };
  const answer = await inSession(async () => {
    if (!state.fresh) return ask(text);
    for (const step of state.answer?.steps ?? []) await ask(step);
    if (leftOut().length && fresh !== AGAIN) await ask(AGAIN, leftOut());
    return ask(fresh);
  });
  Object.assign(state, { hideTold: state.hide, fresh: false });
  return answer;
}

/** What the user asks for. request makes the words when its turn comes; kind is typed, more, similar or over. */
function ask(kind, request) {
  if (state.asking) return;
  setAsking(true);
  enqueue(async () => {
    setAsking(true);
    try {
      const { text, said = text, fresh } = request();
      const old = state.answer?.items ?? [];
      const answer = await send({ text, fresh });
      addLog("said", { text: said });
      if (answer.note) addLog("note", { text: answer.note });
      if (kind === "over") Object.assign(state, { hide: null, hideTold: null });
      Object.assign(state, { before: null, receipt: null, note: answer.note });
      state.open.clear();
      for (const reaction of answer.reactions) reactedInWords(reaction, old);
      if (answer.reactions.length) enqueue(refreshHistory); // apart: what is stored must not be said again where this fails
      take(answer, new Set(answer.without), kind === "more");
      const [first] = answer.items;
      setStatus(() => {
        const unread = text.trim() && !answer.heard && !answer.note ? t("nothingRead") + t("between") : "";
        return unread + (first ? t("listed", { n: answer.items.length, title: first.title }) : t("listedNone"));
      });
      renderAnswer();
      if (kind === "typed" && $("text").value === text) $("text").value = "";
      if (kind === "over") $("text").value = "";
      placeFocus(kind);
    } finally {
      setAsking(false);
    }
  });
}

/** Make the list anew, with the same request. */
async function again() {
  if (!state.answer) return [];
  $("results").setAttribute("aria-busy", "true");
  try {
    const old = state.answer;
    const answer = await send({ text: AGAIN, without: leftOut() });
    state.before = new Map(old.items.map((item, place) => [item.id, place]));
    state.note = answer.note;
    take(answer, new Set(leftOut()), true);
    return old.items;
  } finally {
    $("results").removeAttribute("aria-busy");
  }
}

/** An answer is here: off are attributes that are left out, and where the words are as before their chips stay. */
function take(answer, off, sameWords) {
  const found = answer.understood.map((one) => ({ ...one, on: !off.has(one.attribute) }));
  const same = (a, b) => a.attribute === b.attribute && a.sign === b.sign;
  if (sameWords) {
    const stay = state.chips.map((chip) => found.find((one) => same(one, chip)) ?? (chip.on ? null : chip));
    const more = found.filter((one) => !state.chips.some((chip) => same(one, chip)));
    state.chips = [...stay.filter(Boolean), ...more];
  } else {
    const stay = state.chips.filter((chip) => off.has(chip.attribute) && !found.some((one) => same(one, chip)));
    state.chips = [...found, ...stay.map((chip) => ({ ...chip, on: false }))];
  }
  state.answer = answer;
  for (const item of answer.items) state.titles.set(item.id, item.title);
  if (state.about && state.about.version !== answer.version) {
    state.about.version = answer.version;
    renderServed();
  }
}

/** What changed in the list, in a sentence or two. */
function changes(old, now) {
  const names = (items) => {
    const titles = items.slice(0, 3).map((item) => item.title).join(t("comma"));
    return items.length > 3 ? t("changedMore", { titles, n: items.length - 3 }) : titles;
  };
  const ids = (items) => new Set(items.map((item) => item.id));
  const [were, are] = [ids(old), ids(now)];
  const come = now.filter((item) => !were.has(item.id));
  const gone = old.filter((item) => !are.has(item.id));
  const told = [];
  if (come.length) told.push(t("changedNew", { titles: names(come) }));
  if (gone.length) told.push(t("changedGone", { titles: names(gone) }));
  if (told.length) return told.join(t("between"));
  return t(old.some((item, place) => item.id !== now[place]?.id) ? "changedOrder" : "changedNothing");
}

/** Make the list anew and tell what changed; tell gives the words that stand before. */
async function againTelling(tell) {
  const old = await again();
  const now = state.answer?.items ?? [];
  setStatus(() => [tell(), state.answer ? changes(old, now) : ""].filter(Boolean).join(t("between")));
  if (state.answer) renderAnswer();
}

/** For settings that change the list. */
function settingChanged() {
  if (!state.answer) return;
  enqueue(() => {
    state.receipt = null;
    return againTelling(() => "");
  });
}

function switchChip(attribute) {
  const on = !state.chips.find((chip) => chip.attribute === attribute).on;
  const set = (value) => {
    for (const chip of state.chips) if (chip.attribute === attribute) chip.on = value;
    renderHeard();
  };
  set(on);
  enqueue(async () => {
    set(on);
    state.receipt = null;
    const key = on ? "switchedOn" : "switchedOff";
    try {
      const values = () => ({ attribute: called(attribute) });
      await againTelling(() => t(key, values()));
      addLog("did", { key, values });
    } catch (error) {
      set(!on);
      throw error;
    }
  });
}

function similar(item) {
  ask("similar", () => {
    const place = state.answer?.items.findIndex((one) => one.id === item.id) ?? -1;
    const named = `more like ${item.title}`;
    const text = place < 0 ? named : `more like number ${place + 1}`;
    return { text, fresh: named, said: t("saidSimilar", { title: item.title }) };
  });
}

// --- reacting ----------------------------------------------------------------------------------------------------------

let reactionsWaiting = 0;

const DID = { like: "Like", dislike: "Dislike", seen: "Seen", rating: "Rating" };

/** What stands of an item's reactions after one more; undo takes back all. */
function afterReaction(old, event, rating) {
  const { pending, ...made } = old ?? {};
  if (event === "undo") return {};
  if (event === "rating") made.rating = rating;
  else if (event === "seen") made.seen = true;
  else made.liking = event;
  return { ...made, last: event };
}

async function refreshHistory() {
  takeHistory(await inSession(() => call(ofSession("history"))));
  takeReactions(await inSession(() => call(ofSession("reactions"))));
  renderWho();
}

/** The service understood a reaction in what was said: it stands on the card, too, or where the card was. */
function reactedInWords({ item, title, event }, old) {
  state.reactions.set(item, afterReaction(state.reactions.get(item), event));
  const place = old.findIndex((one) => one.id === item);
  if (place >= 0 && event !== "undo") {
    state.receipt = { ...old[place], place, key: `did${DID[event]}`, values: () => ({ title }) };
  }
}

/** React to an item: like, dislike, seen, rating; undo takes back all of these. */
function react(item, event, rating) {
  const { pending, ...old } = state.reactions.get(item.id) ?? {};
  if (event === "undo" && pending) return;
  const made = afterReaction(old, event, rating);
  if (event !== "undo" && made.liking === old.liking && made.rating === old.rating && made.seen === old.seen) {
    setStatus(() => t("already"));
    return;
  }
  const set = (reaction) => {
    state.reactions.set(item.id, reaction);
    renderCard(item.id);
  };
  set({ ...made, pending: true });
  reactionsWaiting += 1;
  let waits = true;
  let stored = false;
  const key = event === "undo" ? "undone" : `did${DID[event]}`;
  const values = () => ({ title: item.title, n: number(rating ?? 0), most: number(scale().at(-1)) });
  const store = async () => {
    const body = event === "rating" ? { item: item.id, event, rating } : { item: item.id, event };
    try {
      await inSession(() => call(ofSession("feedback"), body));
    } catch (error) {
      set(old);
      throw error;
    }
    stored = true;
    set(made);
    addLog("did", { key, values });
  };
  enqueue(async () => {
    if (waits) reactionsWaiting -= 1;
    waits = false;
    if (!stored) await store(); // once, also where what follows is tried again
    if (!reactionsWaiting) {
      const place = state.answer?.items.findIndex((one) => one.id === item.id) ?? -1;
      state.receipt = place < 0 || event === "undo" ? null : { ...item, place, key, values };
      await againTelling(() => t(key, values()));
    }
    await refreshHistory();
  });
}

/** The ratings that can be given. */
function scale() {
  const [low, high] = state.about?.rating_scale ?? [1, 5];
  const step = [1, 0.5].find((one) => (high - low) / one <= 10 && Number.isInteger((high - low) / one));
  const n = step ? (high - low) / step : 4;
  return Array.from({ length: n + 1 }, (_, i) => Math.round((low + ((high - low) * i) / n) * 100) / 100);
}

// --- drawing: small things ---------------------------------------------------------------------------------------------

/** An element with attributes and children; strings become text. */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

const ICONS = {
  like: "M8 13.4 2.9 8.3a3.05 3.05 0 0 1 4.3-4.3l.8.8.8-.8a3.05 3.05 0 0 1 4.3 4.3z",
  dislike: "M8 2.2a5.8 5.8 0 1 0 0 11.6A5.8 5.8 0 0 0 8 2.2zM3.9 3.9l8.2 8.2",
  seen: "M2.6 8.6 6 12l7.4-8",
  similar: "M6 2.5h7.5V10M2.5 6H10v7.5H2.5z",
};

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** For those who listen alone. */
const unseen = (text) => make("span", { class: "unseen" }, text);

/** Text of unknown language and direction. */
const foreign = (text, attributes = {}) => make("bdi", attributes, text);

/** An attribute in the language of the page. */
const called = (attribute) => state.about?.names[state.language]?.[attribute] ?? attribute;

function attributeList(names, asked = []) {
  if (!names.length) return null;
  const fits = new Set(asked);
  const tags = names.map((name) => make("li", { class: fits.has(name) ? "asked" : null }, called(name)));
  return make("ul", { class: "attributes" }, ...tags);
}

function setStatus(tell) {
  state.status = tell;
  $("status").textContent = tell ? tell() : "";
}

function setAsking(on) {
  state.asking = on;
  const button = $("send");
  button.textContent = t(on ? "asking" : "ask");
  for (const one of [button, $("more"), $("over")]) {
    one.setAttribute("aria-disabled", String(on));
  }
  button.setAttribute("aria-busy", String(on));
  $("results").toggleAttribute("data-waiting", on);
}

// --- drawing: the page -------------------------------------------------------------------------------------------------

function renderWords() {
  document.documentElement.lang = LANGUAGE_TAGS[state.language];
  document.title = `InstructRec · ${t("tagline")}`;
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of document.querySelectorAll("[data-t-label]")) node.setAttribute("aria-label", t(node.dataset.tLabel));
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === state.language));
  }
}

function render() {
  renderWords();
  renderWho();
  renderServed();
  renderExamples();
  renderSettings();
  renderAnswer();
  renderLog();
  setAsking(state.asking);
  setStatus(state.status);
  showTrouble(state.trouble, false);
}

function renderWho() {
  const greeting = !state.session ? "greetNobody" : state.guest ? "greetGuest" : state.known ? "greetKnown" : "greetNew";
  const [before, after] = t(greeting, { user: "\u0000" }).split("\u0000");
  $("greeting").replaceChildren(before, ...(after === undefined ? [] : [foreign(state.user), after]));
  $("known").textContent = t("aboutNew");
  $("known").hidden = !state.session || state.history.length > 0;
  $("change-title").textContent = t(state.guest ? "whoGuest" : "whoElse");
  renderHistory();
}

function renderHistory() {
  $("history").hidden = !state.session;
  $("history-count").textContent = number(state.history.length);
  const items = state.history.map((item) => make("li", {}, foreign(item.title), attributeList(item.attributes)));
  $("history-list").replaceChildren(...(items.length ? items : [make("li", { class: "quiet" }, t("historyNone"))]));
  const told = ({ liking, rating, seen }) => [
    liking && t(liking === "like" ? "liked" : "disliked"),
    seen && t("seenDone"),
    rating !== undefined && t("rateTo", { n: number(rating), most: number(scale().at(-1)) }),
  ];
  const reacted = state.reacted
    .map((item) => ({ item, said: told(state.reactions.get(item.id) ?? {}).filter(Boolean) }))
    .filter(({ said }) => said.length)
    .map(({ item, said }) => {
      const words = make("span", { class: "quiet" }, said.join(t("comma")));
      return make("li", { "data-item": item.id }, foreign(item.title), " ", words, " ", undoOf(item));
    });
  const list = $("reacted-list");
  const focused = list.contains(document.activeElement) ? document.activeElement.closest("li")?.dataset.item : null;
  list.replaceChildren(...reacted);
  $("reacted").hidden = !reacted.length;
  const row = focused && reacted.find((one) => one.dataset.item === focused);
  if (focused) (row?.querySelector("button") ?? $("history").querySelector("summary")).focus(); // it may have gone
}

/** The languages that the model reads, as they are called in that of the page. */
function languagesRead() {
  const names = new Intl.DisplayNames(LANGUAGE_TAGS[state.language], { type: "language" });
  const named = (code) => {
    try {
      return names.of(code);
    } catch {
      return code;
    }
  };
  return state.about.languages.map(named).join(t("comma"));
}

function renderServed() {
  const about = state.about;
  if (!about) return;
  $("served").textContent = t("served", {
    dataset: about.dataset,
    items: number(about.items),
    attributes: number(about.attributes.length),
    languages: languagesRead(),
    version: number(about.version),
  });
}

function renderExamples() {
  if (!state.about) return;
  // In a language that the model reads.
  const reads = state.about.languages.includes(state.language) ? state.language : "en";
  const strings = STRINGS[reads];
  const fill = (key, one, two) => strings[key].replace("{one}", one).replace("{two}", two);
  const [a, b, c, d] = state.about.attributes.map((name) => state.about.names[reads]?.[name] ?? name);
  const said = [a && b && fill("exampleNot", b, a), c && fill("exampleOnly", c), d && fill("exampleBit", d)];
  const button = (label, text) =>
    make("button", { type: "button", class: "plain", onclick: () => ask("example", () => ({ text, said: text })) }, label);
  const shown = [...said.filter(Boolean).map((text) => button(text, text)), button(t("exampleAny"), "")];
  const then = ["hintLike", "hintNot", "hintMore"].map((key) => `“${fill(key, a ?? "")}”`).join(t("comma"));
  $("welcome-hint").textContent = t("welcomeHint", { then });
  $("examples").replaceChildren(...shown.map((one) => make("li", {}, one)));
}

function renderSettings() {
  const hide = $("hide");
  hide.checked = state.hide === true;
  hide.indeterminate = state.hide === null;
  $("hide-unset").hidden = state.hide !== null;
  const value = percent(Number($("variety").value));
  $("variety-value").textContent = value;
  $("variety").setAttribute("aria-valuetext", value);
  const reads = !state.about || state.about.languages.includes(state.language);
  const placeholder = !reads ? "placeholderIn" : state.answer ? "placeholderOn" : "placeholder";
  $("text").placeholder = t(placeholder, { languages: reads ? "" : languagesRead() });
}

function renderAnswer() {
  const there = Boolean(state.answer);
  $("welcome").hidden = there;
  $("results").hidden = $("results-title").hidden = !there;
  renderSettings();
  renderHeard();
  renderList();
}

/** What was heard: the request with the words that counted, and what they were understood as. */
function renderHeard() {
  const answer = state.answer;
  const focused = document.activeElement?.dataset?.attribute;
  $("understood").hidden = !answer || !(answer.heard || state.note);
  if (!answer) return;
  $("heard-title").hidden = !answer.heard;
  $("echo").hidden = !answer.heard;
  $("echo").lang = /[\u3400-\u9fff]/.test(answer.heard) ? "zh" : "";
  $("echo").replaceChildren(...marked(answer.heard, state.chips.filter((chip) => chip.on)));
  const shown = state.chips.map(chipOf);
  const degree = { little: "degreeLittle", only: "degreeOnly" }[answer.degree];
  if (degree && state.chips.some((chip) => chip.on)) shown.unshift(make("span", { class: "degree" }, t(degree)));
  $("chips").replaceChildren(...shown);
  $("chips").hidden = !shown.length;
  $("silent").hidden = !answer.heard || state.chips.length > 0;
  $("silent").textContent = t("nothingUnderstood");
  $("note").hidden = !state.note;
  $("note").textContent = state.note;
  if (focused !== undefined && !$("chips").contains(document.activeElement)) {
    shown.find((chip) => chip.dataset.attribute === focused)?.focus({ preventScroll: true });
  }
}

/** What a chip says. */
const chipName = ({ sign, attribute }) =>
  t(sign === "want" ? "chipWant" : "chipAvoid", { attribute: called(attribute) });

function chipOf(chip) {
  const words = chip.words.map(([word]) => `“${word}”`).join(t("comma"));
  const sure = t("chipSure", { n: percent(chip.confidence) });
  const title = [sure, words && t("chipHeardIn", { words })].filter(Boolean).join(t("comma"));
  const meter = make("span", { class: "sure", "aria-hidden": "true" });
  meter.style.setProperty("--sure", chip.confidence);
  return make(
    "button",
    {
      type: "button",
      class: `chip ${chip.sign}`,
      "aria-pressed": String(chip.on),
      "data-attribute": chip.attribute,
      title: `${title}. ${t("chipAsk")}`,
      onclick: () => switchChip(chip.attribute),
    },
    make("span", { class: "name" }, chipName(chip)),
    unseen(`, ${sure}`),
    chip.on ? null : unseen(`, ${t("chipLeftOut")}`),
    meter,
  );
}

/** A text as nodes, in which the words that an attribute was heard in are marked. */
function marked(text, chips) {
  const dense = (word) => /[\u2e80-\u9fff\uac00-\ud7af]/.test(word);
  const joins = (character) => character !== undefined && /[\p{L}\p{N}'’-]/u.test(character) && !dense(character);
  const places = [];
  for (const chip of chips) {
    for (const [word] of chip.words) {
      for (let at = text.indexOf(word); word && at >= 0; at = text.indexOf(word, at + word.length)) {
        const apart = !joins(text[at - 1]) && !joins(text[at + word.length]);
        if (apart || dense(word)) places.push({ at, end: at + word.length, chip });
      }
    }
  }
  places.sort((a, b) => a.at - b.at || b.end - a.end);
  const nodes = [];
  let done = 0;
  for (const { at, end, chip } of places) {
    if (at < done) continue;
    const title = chipName(chip);
    nodes.push(text.slice(done, at), make("mark", { class: chip.sign, title }, text.slice(at, end)));
    done = end;
  }
  return [...nodes, text.slice(done)].filter((node) => node !== "");
}

// --- drawing: the list -------------------------------------------------------------------------------------------------

const cards = new Map(); // list elements by item

function renderList() {
  const list = $("list");
  const focus = controlInFocus();
  const were = new Map([...cards].map(([id, card]) => [id, card.getBoundingClientRect().top]));
  const items = state.answer?.items ?? [];
  cards.clear();
  items.forEach((item, place) => cards.set(item.id, cardOf(item, place)));
  const rows = [...cards.values()];
  const receipt = state.receipt && !cards.has(state.receipt.id) ? receiptOf(state.receipt) : null;
  if (receipt) rows.splice(Math.min(state.receipt.place, rows.length), 0, receipt);
  if (!rows.length) rows.push(make("li", { class: "nothing" }, t("noResults")));
  list.replaceChildren(...rows);
  $("more").hidden = !items.length;
  if (focus) {
    const control = controlOf(focus) ?? receipt ?? cards.get(focus.item)?.querySelector(".title") ?? rows[Math.min(focus.place, rows.length - 1)].querySelector("button");
    (control ?? $("results-title")).focus({ preventScroll: true });
    document.activeElement.scrollIntoView({ block: "nearest" });
  }
  if (state.before) move(were);
}

/** Which control of the list has the keyboard, to be found again in the next list. */
function controlInFocus() {
  const card = document.activeElement?.closest?.("#list > li");
  if (!card) return null;
  const place = [...$("list").children].indexOf(card);
  return { item: card.dataset.item, control: document.activeElement.dataset.control, place };
}

function controlOf({ item, control }) {
  const found = [...(cards.get(item)?.querySelectorAll("[data-control]") ?? [])];
  return found.find((one) => one.dataset.control === control);
}

/** Cards glide from where they were. */
function move(were) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const [id, card] of cards) {
    const from = were.get(id);
    const timing = { duration: 260, easing: "ease-out" };
    if (from === undefined) card.animate({ opacity: [0, 1] }, timing);
    else {
      const by = from - card.getBoundingClientRect().top;
      if (by) card.animate({ transform: [`translateY(${by}px)`, "none"] }, timing);
    }
  }
}

function renderCard(id) {
  const old = cards.get(id);
  const place = state.answer?.items.findIndex((item) => item.id === id) ?? -1;
  if (!old || place < 0) return;
  const focus = old.contains(document.activeElement) ? controlInFocus() : null;
  const card = cardOf(state.answer.items[place], place);
  cards.set(id, card);
  old.replaceWith(card);
  if (focus) (controlOf(focus) ?? card.querySelector(".title")).focus({ preventScroll: true });
}

function cardOf(item, place) {
  const open = state.open.has(item.id);
  const name = `details-${place}`;
  const reaction = state.reactions.get(item.id) ?? {};
  const title = make(
    "button",
    {
      type: "button",
      class: "title",
      "data-control": "title",
      "aria-expanded": String(open),
      "aria-controls": name,
      onclick: () => toggle(item),
    },
    foreign(item.title),
  );
  const details = make("div", { class: "details", id: name, hidden: !open }, ...(open ? detailsOf(item) : []));
  return make(
    "li",
    { class: "card", "data-item": item.id, "aria-busy": reaction.pending ? "true" : null },
    make("span", { class: "rank", "aria-hidden": "true" }, number(place + 1)),
    make("h3", {}, unseen(`${number(place + 1)}. `), title, moved(item.id, place)),
    attributeList(item.attributes, item.reasons?.attributes),
    item.reasons ? make("p", { class: "reason" }, item.reasons.sentence) : null,
    details,
    actionsOf(item, reaction),
    make("p", { class: "noted", hidden: !reaction.last && !reaction.pending }, ...notedOf(item, reaction)),
  );
}

function notedOf(item, { last, rating, pending }) {
  if (pending) return ["…"];
  if (!last) return [];
  return [t(`noted${DID[last]}`, { n: number(rating ?? 0), most: number(scale().at(-1)) }), " ", undoOf(item)];
}

/** Takes back what was said of an item. */
function undoOf(item) {
  const take = { type: "button", class: "undo", "data-control": "undo", onclick: () => react(item, "undo") };
  return make("button", take, t("undo"), unseen(`: ${item.title}`));
}

/** How an item moved since the list before. */
function moved(id, place) {
  if (!state.before) return null;
  const was = state.before.get(id);
  if (was === undefined) return make("span", { class: "moved new" }, t("deltaNew"));
  if (was === place) return null;
  const n = number(Math.abs(was - place));
  const arrow = make("span", { "aria-hidden": "true" }, `${was > place ? "↑" : "↓"} ${n}`);
  return make("span", { class: "moved" }, arrow, unseen(t(was > place ? "deltaUp" : "deltaDown", { n })));
}

function actionsOf(item, reaction) {
  const button = (event, words, done, pressed, action) =>
    make(
      "button",
      {
        type: "button",
        class: `act ${event}`,
        "data-control": event,
        "aria-pressed": pressed === undefined ? null : String(pressed),
        onclick: action,
      },
      icon(event),
      t(pressed ? done : words),
      unseen(`: ${item.title}`),
    );
  const reacting = (event, words, done, pressed) => button(event, words, done, pressed, () => react(item, event));
  return make(
    "div",
    { class: "actions" },
    reacting("like", "like", "liked", reaction.liking === "like"),
    reacting("dislike", "dislike", "disliked", reaction.liking === "dislike"),
    reacting("seen", "seen", "seenDone", reaction.seen === true),
    ratingOf(item, reaction.rating),
    button("similar", "similar", "similar", undefined, () => similar(item)),
  );
}

/** Ratings are one stop of the tab key; arrows go from one to the next. */
function ratingOf(item, given) {
  const values = scale();
  const most = number(values.at(-1));
  const buttons = values.map((value) =>
    make(
      "button",
      {
        type: "button",
        "data-control": `rating ${value}`,
        "aria-pressed": String(value === given),
        "aria-label": t("rateTo", { n: number(value), most }),
        class: given !== undefined && value <= given ? "filled" : null,
        tabindex: value === (given ?? values[0]) ? "0" : "-1",
        onclick: () => react(item, "rating", value),
      },
      number(value),
    ),
  );
  const keys = (event) => {
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    const next = buttons[to];
    if (!next) return;
    event.preventDefault();
    for (const button of buttons) button.tabIndex = button === next ? 0 : -1;
    next.focus();
  };
  return make(
    "div",
    { class: "rating", role: "group", "aria-label": t("rateItem", { title: item.title }), onkeydown: keys },
    make("span", { class: "label", "aria-hidden": "true" }, t("rate")),
    ...buttons,
  );
}

/** The numbers behind the reason. */
function detailsOf(item) {
  const { words = [], history = [] } = item.reasons ?? {};
  const most = Math.max(...history.map(([, weight]) => weight), 1e-9);
  const row = (label, share, shown) => {
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", share);
    return make("li", {}, foreign(label), bar, shown ? make("span", { class: "quiet" }, shown) : null);
  };
  const part = (key, rows) =>
    rows.length ? [make("h4", {}, t(key)), make("ul", { class: "weights" }, ...rows)] : [];
  const parts = [
    ...part("whyWords", words.map(([word, share]) => row(word, share, percent(share)))),
    ...part("whyHistory", history.map(([id, weight]) => row(state.titles.get(id) ?? id, weight / most))),
  ];
  const none = parts.length ? [] : [make("p", { class: "quiet" }, t("whyNone"))];
  return [...parts, ...none, make("p", { class: "quiet" }, t("itemId", { id: item.id }))];
}

function toggle(item) {
  if (!state.open.delete(item.id)) state.open.add(item.id);
  renderCard(item.id);
}

/** What stands where an item was that left the list after a reaction. */
function receiptOf(receipt) {
  const { title, ...others } = receipt.values();
  const [before, after] = t(receipt.key, { ...others, title: "\u0000" }).split("\u0000");
  const told = make("p", {}, icon("seen"), make("span", {}, before, foreign(title), after, t("between"), t("leftList")));
  return make("li", { class: "receipt", "data-item": receipt.id, tabindex: "-1" }, told, undoOf(receipt));
}

// --- drawing: the conversation -----------------------------------------------------------------------------------------

function addLog(kind, entry) {
  state.log.push({ kind, ...entry });
  state.log.splice(0, state.log.length - LOG_KEPT);
  renderLog();
}

function renderLog() {
  const log = $("log");
  const rows = state.log.map(({ kind, text, key, values = {} }) => {
    if (kind === "did") return make("li", { class: "did" }, t(key, typeof values === "function" ? values() : values));
    const who = make("span", { class: "speaker" }, t(kind === "said" ? "logYou" : "logService"));
    if (kind === "note") return make("li", { class: "told" }, who, foreign(text));
    const words = text.trim()
      ? make("button", { type: "button", title: t("logRecall"), onclick: () => recall(text) }, foreign(text))
      : t("logAny");
    return make("li", { class: "said" }, who, words);
  });
  log.replaceChildren(...rows);
  log.hidden = !rows.length;
  $("log-empty").hidden = rows.length > 0;
  log.scrollTop = log.scrollHeight;
}

function recall(text) {
  $("text").value = text;
  $("text").focus();
}

// --- trouble -----------------------------------------------------------------------------------------------------------

function wordsOf(error) {
  if (!(error instanceof Trouble)) return t("troublePage");
  if (error.kind === "token") return t(tab.get(TOKEN) ? "troubleWrongToken" : "troubleToken");
  if (error.kind === "hurry") return t("troubleHurry");
  if (error.kind === "silent") return t("troubleSilent");
  if (!error.detail) return t("troubleStatus", { status: error.status });
  return t("troubleRefused", { detail: error.detail[0].toUpperCase() + error.detail.slice(1) });
}

/** Say what went wrong, and what can be done; null when all is well. */
function showTrouble(trouble, focus = true) {
  state.trouble = trouble;
  const needsToken = trouble?.error.kind === "token";
  $("trouble").hidden = !trouble;
  $("trouble-text").textContent = trouble ? wordsOf(trouble.error) : "";
  $("retry").hidden = !trouble || !["hurry", "silent"].includes(trouble.error.kind);
  $("token-form").hidden = !needsToken;
  if (needsToken && focus) {
    $("token").value = "";
    $("token").focus();
  }
}

// --- focus -------------------------------------------------------------------------------------------------------------

function placeFocus(kind) {
  const touch = matchMedia("(pointer: coarse)").matches;
  if (kind === "over" || (kind === "typed" && !touch)) {
    // Who has gone on to something else meanwhile stays there.
    const asks = [document.body, $("text"), $("send"), $("over")].includes(document.activeElement);
    if (asks) $("text").focus({ preventScroll: true });
    return;
  }
  $("results-title").focus({ preventScroll: true });
  const place = kind !== "more" && !$("understood").hidden ? $("understood") : $("results-title");
  place.scrollIntoView({ block: "start" });
}

// --- beginning ---------------------------------------------------------------------------------------------------------

/** A token that came with the address is taken, and taken out of it. */
function tokenOfAddress() {
  if (!location.hash.startsWith("#token=")) return false;
  let token = location.hash.slice("#token=".length);
  try {
    token = decodeURIComponent(token);
  } catch {
    // as it stands
  }
  tab.set(TOKEN, token.trim());
  history.replaceState(null, "", location.pathname + location.search);
  return true;
}

async function start() {
  if (!state.about) {
    state.about = await call("/api/about");
    renderServed();
    renderExamples();
    renderAnswer();
  }
  if (!state.session) await begin(remembered());
}

/** Begin anew, as somebody of a name or as a guest. */
function introduce(name) {
  enqueue(async () => {
    if (!state.about) await start();
    await begin(name || null);
    state.open.clear();
    if (name) browser.set(USER, name);
    else browser.remove(USER);
    Object.assign(state, { guest: !name, answer: null, chips: [], note: "", receipt: null });
    Object.assign(state, { hide: null, fresh: false });
    $("change").open = false;
    renderWho();
    renderAnswer();
    addLog("did", { key: "logBegun", values: { user: state.user } });
    setStatus(() => $("greeting").textContent);
  });
}

function listen() {
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("text").value;
    ask("typed", () => ({ text }));
  });
  $("text").addEventListener("keydown", (event) => {
    // Enter that ends the spelling of a Chinese word sends nothing.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    $("ask").requestSubmit();
  });
  $("over").addEventListener("click", () => ask("over", () => ({ text: "start over", said: t("startOver") })));
  $("more").addEventListener("click", () => ask("more", () => ({ text: "more", said: t("more") })));
  $("hide").addEventListener("change", () => {
    state.hide = $("hide").checked;
    renderSettings();
    settingChanged();
  });
  $("variety").addEventListener("input", renderSettings);
  $("variety").addEventListener("change", settingChanged);
  $("who").addEventListener("submit", (event) => {
    event.preventDefault();
    introduce($("user").value.trim());
  });
  $("dismiss").addEventListener("click", () => {
    showTrouble(null);
    $("text").focus();
  });
  $("retry").addEventListener("click", () => {
    const { retry } = state.trouble;
    $("text").focus({ preventScroll: true });
    retry();
  });
  $("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    tab.set(TOKEN, $("token").value.trim());
    const { retry } = state.trouble;
    $("text").focus({ preventScroll: true });
    retry();
  });
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => {
      state.language = button.dataset.language;
      browser.set(LANGUAGE, state.language);
      render();
    });
  }
  addEventListener("hashchange", () => {
    if (tokenOfAddress()) (state.trouble?.retry ?? (() => enqueue(start)))();
  });
}

const chosen = browser.get(LANGUAGE);
state.language = chosen in STRINGS ? chosen : /^zh\b/i.test(navigator.language) ? "zh" : "en";
tokenOfAddress();
$("user").value = remembered() ?? "";
state.guest = !remembered();
listen();
render();
enqueue(start);
