// The first run in steps: code, password, pool, worker, port, done. Each step is a form with one
// field, so Enter moves on everywhere.

const STEPS = [
  ['code', 'M14 10a5 5 0 1 0-5 5l1-1h2v-2h2l2-2zM6 9h.01M12 13l8 8h-4'],
  ['password', 'M5 11h14v10H5zM8 11V7a4 4 0 0 1 8 0v4M12 15v2'],
  ['pool', 'M3 5h18v6H3zM3 13h18v6H3zM7 8h.01M7 16h.01'],
  ['worker', 'M4 20l10-10M8 4c6 0 11 4 12 11-3-4-6-6-9-7-2-1-4-2-3-4z'],
  ['listener', 'M9 3v6M15 3v6M6 9h12v3a6 6 0 0 1-12 0zM12 18v3'],
  ['done', 'M4 13l5 5L20 6'],
];

const wizard = { step: 0, url: '', user: '', pin: null, trust: false, listen: '', tried: '', warned: '' };

function startWizard() {
  const value = (key) => (known.values.get(key) || { value: '' }).value;
  document.body.classList.add('setup');
  wizard.step = !known.session.role ? 0 : known.session.first_run ? 1 : 2;
  wizard.url = value('pool.1.url') || wizard.url;
  wizard.user = value('pool.1.user') || wizard.user;
  wizard.listen = value('listen.addresses') || '0.0.0.0:3333';
  waiting.ended = wizardEnded;
  waiting.tick = null;
  if (waiting.until) wizard.step = 5;
  showStep();
}

function endWizard() {
  document.body.classList.remove('setup');
  waiting.ended = waiting.tick = null;
  location.hash = '#overview';
  refresh();
}

function showStep() {
  const [name, path] = STEPS[wizard.step];
  waiting.tick = null;
  const steps = STEPS.map(([step, shape], index) => {
    const now = index === wizard.step ? 'step' : null;
    return h('li', { 'aria-current': now, class: index < wizard.step ? 'done' : null },
      icon(shape), ' ', String(index + 1), h('span', { class: 'quiet' }, ' ' + stepName(step)));
  });
  const title = h('h2', { tabindex: '-1' }, icon(path), ` ${wizard.step + 1}. ${stepName(name)}`);
  $('main').replaceChildren(h('div', { class: 'wizard card' }, h('ol', { class: 'steps' }, steps),
    title, WIZARD[name]()));
  focusOn($('main').querySelector('input') || title);
}

function stepName(step) {
  return word(step);
}

function go(step) {
  wizard.step = step;
  showStep();
}

// The form of a step: its fields and its buttons.
function step(content, next, work, extra) {
  const button = h('button', { class: 'main', type: 'submit', id: 'next' }, next);
  const form = h('form', { novalidate: true, autocomplete: 'off' }, content,
    h('p', { id: 'failure', class: 'bad', role: 'alert' }),
    h('div', { class: 'buttons' }, button, extra || null));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    $('failure').textContent = '';
    busy(button, work);
  });
  return form;
}

const backTo = (number) =>
  h('button', { type: 'button', onclick: () => go(number) }, word('back'));

const WIZARD = {
  code() {
    const input = h('input', { inputmode: 'numeric', autocomplete: 'one-time-code', maxlength: '16' });
    return step(labelled('code', word('code'), input, word('codeHelp')), word('next'), async () => {
      const code = input.value.replace(/\s/g, '');
      if (!code) return complain('code', word('needed'));
      known.session = await ask('POST', 'session', { code });
      await learnSettings();
      startWizard();
    });
  },

  password() {
    const input = h('input', { type: 'password', autocomplete: 'new-password', maxlength: '128' });
    const shown = h('input', { type: 'checkbox', id: 'shown',
      onchange: () => { input.type = shown.checked ? 'text' : 'password'; } });
    const content = [labelled('password', word('password'), input, word('passwordHelp')),
      h('p', {}, shown, ' ', h('label', { for: 'shown' }, word('show'))), securePage()];
    return step(content, word('next'), async () => {
      if (input.value.length < 8) return complain('password', word('short'));
      await ask('POST', 'password', { role: 'admin', word: input.value });
      await learnSession();
      // The gateway may end the code's session with the first password; then log in with the
      // password.
      if (!known.session.role) {
        known.session = await ask('POST', 'session', { role: 'admin', password: input.value });
      }
      await learnSettings();
      go(2);
    });
  },

  pool() {
    const input = h('input', { inputmode: 'url', autocapitalize: 'none', spellcheck: 'false', value: wizard.url });
    const result = h('div', { id: 'result', 'aria-live': 'polite' });
    const form = step([labelled('pool', word('pool'), input, word('poolHelp')), result],
      word('test'), () => tryPool(input, result));
    input.addEventListener('input', () => {
      if (input.value.trim() === wizard.url) return;
      wizard.tried = '';
      form.querySelector('#next').textContent = word('test');
    });
    return form;
  },

  worker() {
    const input = h('input', { autocapitalize: 'none', spellcheck: 'false', maxlength: '128', value: wizard.user });
    const result = h('div', { id: 'result', 'aria-live': 'polite' });
    return step([labelled('worker', word('worker'), input, word('workerHelp')), result],
      word('next'), async () => {
        wizard.user = input.value.trim();
        complain('worker', wizard.user ? '' : word('needed'));
        if (!wizard.user) return;
        if (wizard.warned !== wizard.user) {
          const tried = await ask('POST', 'test', { pool: 'pool.1', edits: wizardEdits() });
          if (!tried.ok) {
            wizard.warned = wizard.user;
            return result.replaceChildren(...outcome(tried).filter(Boolean), h('p', {}, word('anyway')));
          }
        }
        go(4);
      }, backTo(2));
  },

  listener() {
    const input = h('input', { inputmode: 'url', spellcheck: 'false', value: wizard.listen });
    return step(labelled('listener', word('listener'), input, word('listenerHelp')),
      word('start'), async () => {
        wizard.listen = input.value.trim();
        try {
          const done = await ask('POST', 'commit', { edits: wizardEdits() });
          await learnSettings();
          await learnSession();
          go(5);
          if (!done.seconds_left) wizardEnded(true, done.notes.map(told).join(' ') || word('kept'));
        } catch (error) {
          if (!error.problems.length) throw error;
          $('failure').textContent = error.problems.map((problem) => problem.text).join('\n');
        }
      }, backTo(3));
  },

  done() {
    const left = h('p', { id: 'keep-help' });
    const keep = h('button', { type: 'submit', id: 'keep-it', class: 'main', 'aria-describedby': 'keep-help' }, word('keep'));
    const form = h('form', { id: 'keeping' }, left, h('div', { class: 'buttons' }, keep));
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      busy(keep, () => answerCommit('confirm'));
    });
    waiting.tick = (seconds) => {
      form.hidden = !seconds;
      left.textContent = word('keepHelp').replace('{}', seconds);
    };
    waiting.tick(Math.ceil((waiting.until - Date.now()) / 1000));
    setTimeout(() => keep.focus());
    return [h('p', {}, word('type')),
      minerAddresses().map((address) => h('p', {}, h('span', { class: 'address' }, address))),
      form, h('p', { id: 'outcome', role: 'status' }), h('div', { id: 'first' }),
      h('p', { id: 'failure', class: 'bad', role: 'alert' }),
      h('div', { class: 'buttons' },
        h('button', { type: 'button', id: 'finish', onclick: endWizard }, word('overview'))), securePage()];
  },
};

// The page's address over TLS, if this address accepts no password.
function securePage() {
  const place = (known.session.pages || [])[0];
  if (passes() || !place) return '';
  const port = place.slice(place.lastIndexOf(':') + 1);
  const page = `https://${location.hostname}${port === '443' ? '' : `:${port}`}/`;
  return h('p', { class: 'care' }, word('secure'), ' ', h('a', { href: page }, page));
}

// Adds the TLS prefix to an address without one.
function poolUrl(text) {
  const url = text.trim();
  return url.includes('://') || !url ? url : 'stratum+ssl://' + url;
}

async function tryPool(input, result) {
  const url = poolUrl(input.value);
  complain('pool', /:\/\/./.test(url) ? '' : word('needed'));
  if (!/:\/\/./.test(url)) return;
  if (wizard.tried === url) return go(3);
  if (url !== wizard.url) Object.assign(wizard, { pin: null, trust: false });
  wizard.url = url;
  input.value = url;
  result.replaceChildren(h('p', {}, word('testing')));
  let tried;
  try {
    tried = await ask('POST', 'test', { pool: 'pool.1', edits: wizardEdits() });
  } catch (error) {
    result.replaceChildren();
    if (!error.problems.length && error.status !== 400) throw error;
    return complain('pool', error.problems.map((problem) => problem.text).join('\n') || error.message);
  }
  const take = (pin, alone) => {
    Object.assign(wizard, { pin, trust: alone, tried: '' });
    $('next').focus();
    busy($('next'), () => tryPool(input, result));
  };
  showTrial(result, tried, 'trust', wizard.pin ? null : take);
  if (tried.ok) {
    wizard.tried = url;
    $('next').textContent = word('next');
    if (wizard.pin) result.append(h('p', { class: 'good' }, word('pinned')));
  }
}

// The wizard's edits; without a user the pool is tested without a login.
function wizardEdits() {
  const edits = [{ key: 'pool.1.url', value: wizard.url }];
  if (wizard.user) edits.push({ key: 'pool.1.user', value: wizard.user });
  if (wizard.pin) edits.push({ key: 'pool.1.pins', value: wizard.pin });
  if (wizard.trust) edits.push({ key: 'pool.1.trust', value: 'pin' });
  const listen = known.values.get('listen.addresses');
  if (!listen || listen.value !== wizard.listen) edits.push({ key: 'listen.addresses', value: wizard.listen });
  return edits;
}

// The addresses for miners, first those at this page's own host, which is reachable from here.
// Loopback addresses are listed only if there is no other.
function minerAddresses() {
  const all = known.session.miners || [];
  const has = (host) => (address) => address.startsWith(`stratum+tcp://${host}:`);
  const far = all.filter((address) => !has('127.0.0.1')(address) && !has('[::1]')(address));
  const near = (address) => (has(location.hostname)(address) ? 0 : 1);
  return (far.length ? far : all).sort((one, other) => near(one) - near(other));
}

function wizardEnded(kept, text) {
  if (kept) {
    $('outcome').textContent = text;
    $('finish').focus();
  } else {
    go(2);
    $('failure').textContent = word('gone');
  }
}

// The last step shows the farm's figures.
function wizardStatus(status) {
  const place = $('first');
  if (!place) return;
  const pool = status.upstream.find((link) => link.pool === 1);
  const state = pool ? (pool.error ? `${told(pool.state)}: ${told(pool.error)}` : told(pool.state)) : word('waiting');
  const miners = status.miners.connected, shares = status.ledger.accepted;
  place.replaceChildren(figures([[word('poolIs'), state], [word('minersAre'), String(miners)],
    [word('sharesAre'), String(shares)]]));
  if (shares > 0 && !waiting.until && $('outcome').textContent !== word('hashing')) {
    $('outcome').textContent = word('hashing');
  }
}
