// Log-in, and the view of passwords, sessions and the page's certificate.

const ROLES = ['admin', 'operator', 'viewer'];

// The gateway accepts passwords over TLS or on its own machine only, so the page sends none
// elsewhere.
const passes = () => known.session.secure || /^(localhost|127(\.\d+){3}|\[::1\])$/.test(location.hostname);

// The log-in form; it asks for the set-up code until admin has a password. Its ids begin with
// `prefix`.
function logInForm(prefix, then) {
  const first = known.session.first_run;
  if (!first && !passes()) {
    return h('p', { class: 'care' }, 'Passwords are accepted over TLS only. Open this page as https://…: the address is in the '
      + 'log and on the serial line, as “page at”.');
  }
  const role = h('select', {}, ROLES.map((one) => h('option', {}, one)));
  const input = first ? h('input', { inputmode: 'numeric', autocomplete: 'one-time-code', maxlength: '16' })
    : h('input', { type: 'password', autocomplete: 'current-password', maxlength: '128' });
  const button = h('button', { class: 'main', type: 'submit' }, 'Log in');
  const form = h('form', { novalidate: true },
    first ? labelled(`${prefix}code`, word('code'), input, word('codeHelp'))
      : [labelled(`${prefix}role`, 'Role', role), labelled(`${prefix}password`, 'Password', input,
        'Forgotten? On the serial line, “password admin” sets a new one.')],
    h('p', { class: 'bad', role: 'alert' }), button);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    form.querySelector(':scope > [role=alert]').textContent = '';
    busy(button, async () => {
      const proof = first ? { code: input.value.replace(/\s/g, '') } : { role: role.value, password: input.value };
      known.session = await ask('POST', 'session', proof);
      await then();
    });
  });
  return form;
}

function logIn() {
  $('main').replaceChildren(h('div', { class: 'wizard card' }, h('h2', {}, 'Log in'), logInForm('', refresh)));
  focusOn($('main').querySelector('input') || $('main'));
}

// Asks for a log-in in a dialog over the page, so that typed text is kept. Parallel requests share
// one dialog.
let again = null;

function logInAgain(ended) {
  if (!again) again = showLogIn(ended).finally(() => { again = null; });
  return again;
}

async function showLogIn(ended) {
  known.session.first_run = (await send('GET', 'session')).first_run;
  return new Promise((done, refuse) => {
    const dialog = h('dialog', { class: 'card', 'aria-labelledby': 'again' });
    const form = logInForm('again-', () => {
      done();
      dialog.close();
    });
    dialog.append(h('h2', { id: 'again' }, 'Your session has ended'), h('p', {}, 'Nothing that you typed is lost.'), form);
    dialog.addEventListener('close', () => {
      dialog.remove();
      refuse(ended);
    });
    document.body.append(dialog);
    dialog.showModal();
    focusOn(dialog.querySelector('input') || dialog);
  });
}

function access() {
  const how = known.session.secure ? 'over TLS.' : passes() ? 'on this machine, without TLS.'
    : 'without TLS: anybody on the path can read it.';
  const who = h('p', {}, `You are logged in as ${known.session.role}, `, how);
  return may('admin') ? [who, passwords(), sessions(), certificate()] : [who];
}

function passwords() {
  const role = h('select', {}, ROLES.map((one) => h('option', {}, one)));
  const password = h('input', { type: 'password', autocomplete: 'new-password', maxlength: '128' });
  const button = h('button', { class: 'main', type: 'submit' }, 'Set the password');
  const form = h('form', { class: 'card', id: 'password-form', novalidate: true }, h('h3', {}, 'Passwords'),
    labelled('role', 'Role', role), labelled('password', word('password'), password,
      'At least 8 characters; empty removes the password of operator or viewer. Ends the sessions of the role.'),
    h('p', { class: 'bad', role: 'alert' }), button);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    form.querySelector(':scope > [role=alert]').textContent = '';
    busy(button, async () => {
      await ask('POST', 'password', { role: role.value, word: password.value });
      say(password.value ? `The password of ${role.value} is set.` : `The password of ${role.value} is removed.`);
      password.value = '';
      await learnSession();
    });
  });
  return form;
}

// The open sessions, each with a button that ends it.
function sessions() {
  const place = h('div', {}, h('p', {}, word('wait')));
  const load = async () => {
    const list = (await ask('GET', 'sessions')).sessions;
    place.replaceChildren(table('Who is logged in', ['Role', 'From', 'For', 'Ends in', ''], list.map((one) => {
      const end = h('button', { type: 'button', 'aria-label': `End the session of ${one.role} from ${one.from}`,
        onclick: () => busy(end, async () => {
          await ask('DELETE', `sessions/${one.id}`);
          say(`The session of ${one.role} from ${one.from} has ended.`);
          await load();
        }) }, 'End');
      return [one.role, one.from, span(one.age_secs), span(one.left_secs), one.own ? 'this one' : end];
    })));
  };
  load().catch((error) => place.replaceChildren(h('p', { class: 'bad' }, error.message)));
  return h('section', { class: 'card', id: 'open-sessions' }, h('h3', {}, 'Sessions'), place,
    h('p', { class: 'bad', role: 'alert' }));
}

function certificate() {
  const now = h('p', { id: 'fingerprint' }, word('wait'));
  const text = h('textarea', { rows: '8', class: 'wide', spellcheck: 'false', autocomplete: 'off' });
  const take = h('button', { type: 'submit', id: 'take-certificate' }, 'Use this certificate');
  const drop = h('button', { type: 'button', id: 'drop-certificate', hidden: true }, 'Back to the self-signed certificate');
  const form = h('form', { class: 'card', id: 'certificate-form', novalidate: true },
    h('h3', {}, 'Certificate of this page'), now,
    labelled('certificate', 'Chain and private key, as PEM', text, 'The key is kept on the gateway and never shown.'),
    h('p', { class: 'bad', role: 'alert' }), h('div', { class: 'buttons' }, take, drop));
  const load = async () => {
    const { fingerprint, is_own: own } = await ask('GET', 'certificate');
    now.replaceChildren(fingerprint ? 'SHA-256 of the certificate in use: ' : 'None yet: there is no page over TLS.',
      h('code', {}, fingerprint || ''));
    drop.hidden = own;
  };
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    form.querySelector(':scope > [role=alert]').textContent = '';
    busy(take, async () => {
      await ask('PUT', 'certificate', { pem: text.value });
      text.value = '';
      say('The certificate is in use for new connections.');
      await load();
    });
  });
  drop.addEventListener('click', () => busy(drop, async () => {
    await ask('DELETE', 'certificate');
    say('The self-signed certificate is in use for new connections.');
    await load();
  }));
  load().catch((error) => { now.textContent = error.message; });
  return form;
}
