"""Composed wordings for talk: openers, verbs and key phrases put together, so that the model learns which words name a
topic instead of learning questions by heart. Choices stand in brackets: "[a|b|] c"; an empty choice is allowed.
"""

from __future__ import annotations

import random
import re

G = "[galley|galley|galley|galley|the galley server|the server|it|this server|this|this software|the galley project]"
ASKING = ["{}", "{}", "{}?", "{}?", "tell me {}", "i want to know {}", "question about galley: {}", "do you know {}", "{} please", "i have a question: {}",
          "just wondering, {}", "one more thing, {}", "{}, do you know?", "quick question, {}", "may i ask {}", "could you tell me {}", "so {}", "and {}?", "well, {}"]
ABOUT = ["{}", "{}?", "tell me about {}", "what about {}", "can you tell me about {}", "explain {}", "i want to know about {}", "info on {}", "something about {}",
         "how about {}?", "say something about {}", "i have a question about {}", "what do you know about {}", "anything on {}?", "can you explain {} to me", "describe {}"]
ASKING_ZH = ["{}", "{}", "{}？", "{}？", "{}?", "请问{}", "我想知道{}", "告诉我{}", "你知道{}吗", "想问一下{}", "那{}", "顺便问下，{}", "麻烦问一下{}", "{}呢", "{}啊", "再问一下{}"]
ABOUT_ZH = ["{}", "{}？", "介绍一下{}", "说说{}", "讲讲{}", "解释一下{}", "我想了解{}", "关于{}", "{}是怎样的", "谈谈{}", "能说说{}吗", "{}的情况", "请介绍{}", "聊聊{}", "给我介绍下{}", "说明一下{}"]

# topic: (questions, noun phrases) for each language
EN = {
    "galley": (
        [f"what [is|exactly is|really is] galley", "what kind of [thing|software|project|program|system] is galley", "what is galley [good for|used for|all about|about]", "why [use galley|would i use galley|does galley exist]",
         "what is the [purpose|idea|point|goal|aim] of [galley|this project]", "what does [galley|this software|this project] [actually |really |]do", "what am i [using|talking through|running] here", "give [me |]an [introduction|intro] to galley",
         "[present|summarize|outline|introduce] [galley|the galley project] [briefly|shortly|in short|in one sentence|]", "who [uses|needs|should use] galley", "how would you [describe|explain|introduce] galley", "what makes galley [special|different|useful]"],
        ["galley", "the galley project", "galley in general", "this software", "galley itself", "the purpose of galley"]),
    "start": (
        [f"how [do i|can i|to|do you|should i|does one|would i] [start|run|launch|install|set up|build|compile|deploy|boot|begin with|bring up|start up|get started with|get] {G} [running|up|on linux|locally|on my machine|on debian|on ubuntu||||]",
         f"[what is|which is|what's] the [command|way|best way|easiest way] to [start|run|launch|install|build] {G}", "[start|install|run|launch|build|set up] galley", "[where|how] do i [begin|start] [with galley|]",
         "what do i [type|need to do|have to do|run] to [start|get|run] galley", "[installation|install|start|build|setup|set-up] instructions", "how do i [serve|run] a model [with galley|]", "how do i start the demo [model|]"],
        ["starting galley", "installing galley", "running galley", "the installation of galley", "the setup of galley", "getting started with galley", "building galley", "launching the server", "make serve"]),
    "queue": (
        [f"what [happens|does galley do|will happen|goes on] [under|with|in case of|at|during|when there is] [high|heavy|much|a lot of|too much|extreme] [load|traffic|demand]", f"how does galley [handle|deal with|cope with|manage|react to|treat] [overload|high load|heavy traffic|too many requests|many users|bursts|peaks|demand|a busy server|congestion]",
         "what if [there are too many requests|the server is full|the server is overloaded|everybody uses it at once|the queue is full|many people use it at once|the hardware is too slow]", "does galley [refuse|reject|drop|deny|lose|queue|delay] [my |any |]requests", "will my request be [refused|rejected|dropped|queued]",
         "[is|was] the server [busy|full|overloaded]", "why [is my request waiting|do i have to wait|am i waiting|is there a queue|does galley queue requests]", "can galley [serve|handle|cope with] [many|hundreds of|a thousand] users", "does galley [say|answer|return] server busy"],
        ["overload", "heavy load in galley", "the queue", "galley's queue", "queueing", "waiting requests", "busy servers", "server busy", "peak load", "fair queueing in galley"]),
    "api": (
        [f"[which|what] [api|endpoint|url|port|protocol|address|base url] does {G} [use|have|offer|speak|listen on|provide]", f"[does|can] {G} [support|speak|have|offer] [the openai api|an api|streaming|http|sse|a rest api|an http api]", f"is {G} [compatible with|like] [openai|the openai api|openai's client]",
         f"how [do i|can i|to|does my program|does my app] [call|query|use|reach|access|connect to|talk to] [the api|{G} from python|galley over http|the endpoint|galley with curl|galley from my code]", "can i use [curl|the openai sdk|the openai package|openai's python client|http requests|langchain] [with galley|]",
         "[where|on which port|at which address] does galley [listen|run|answer]", "how [do i|can i] send [a chat|a message|requests|a prompt] to galley [from python|with curl|over http|]"],
        ["the api", "galley's api", "the api of galley", "the endpoint", "the port", "openai compatibility", "the openai client", "streaming in galley", "the base url", "http access"]),
    "language": (
        [f"[in which|in what|which|what] [language|programming language|programming languages] [is|was] {G} [written|made|coded|programmed|developed|implemented] [in|]", f"is {G} [written|coded|programmed|implemented|developed] in [python|rust|go|java|c++|c|javascript|typescript]", f"[does|did] {G} [use|contain|need|require] [python|rust|c++|java|go|node]",
         "do i need python [for galley|to run galley|to serve|installed]", "is [python|rust|java|c++] [needed|required|used] [for galley|by galley]", "what is galley [coded|built|programmed|developed] in"],
        ["the programming language of galley", "galley's source language", "the source code of galley", "the language galley is written in", "c++ in galley"]),
    "models": (
        [f"[which|what] [models|model families|checkpoints|llms|weights|architectures] [can|does|will] {G} [run|serve|load|support|host|handle]", f"[can|does|will] {G} [run|serve|load|support|host|handle] [deepseek|deepseek v3|deepseek-r1|deepseek v2|r1|v3|qwen|qwen2|llama|llama 3|mistral|other models|my own model|my model|my own checkpoint|fp8 models|hugging face models|big models]",
         "[is|are] [deepseek|deepseek v3|deepseek r1|qwen|llama|other models|fp8 checkpoints] supported [by galley|]", "can i [use|load|serve|run] [my own|another|a different|other|bigger] [model|models|checkpoint|weights] [with galley|in galley|]", "what can [i|galley] serve"],
        ["supported models", "the models of galley", "deepseek support", "model support in galley", "the list of models", "the supported checkpoints", "galley's models"]),
    "hardware": (
        [f"[does|will|can] {G} [need|require|use|run on|work on|support|work without|run without] [a gpu|gpus|nvidia|nvidia cards|cuda|a graphics card|a cpu|cpus|the cpu|a laptop|my laptop|an old pc|avx2|amx|special hardware|an h100]", f"[do i|must i|should i] [need|have|buy|own] [a gpu|a graphics card|nvidia hardware|cuda|special hardware|a video card|a big machine] [for galley|to run galley|]",
         f"[what|which] [hardware|gpu|cpu|machine|computer|processor] [do i need|does galley need|is needed|is required|is supported|does galley run on]", "[is|are] [a gpu|cuda|nvidia|gpus|graphics cards] [needed|required|necessary|mandatory|optional|supported]", "can i run [galley|it|this] [without nvidia|without a gpu|on cpu only|on a laptop|on my pc|without cuda|on a cpu]"],
        ["hardware requirements", "the hardware", "the requirements of galley", "system requirements", "gpu support", "cuda in galley", "running without a gpu", "cpu support"]),
    "license": (
        [f"[which|what] [license|licence] [does|is] {G} [use|under|have|]", f"is {G} [free|open source|open|free software|commercial|paid|proprietary|apache licensed|gratis]", f"how much [do i pay for|money is|is|does one pay for|must i pay for] {G}", f"[do|must] i [pay|need to pay] [for galley|to use galley|]",
         f"what [is the price of|does it cost to use|would i pay for|is the cost of] {G}", f"can [i|my company|we|companies] use {G} [at work|in a product|for business|in my company|for free|commercially|without paying]", "may i [sell|modify|fork|redistribute|copy] galley"],
        ["the license", "the licence of galley", "galley's license", "the price of galley", "the cost of galley", "the costs", "licensing", "open source", "commercial use of galley"]),
    "mtp": (["what [is|does|means] [mtp|multi-token prediction|multi token prediction|speculative decoding|a draft token|drafting]", "how does [mtp|multi-token prediction|speculative decoding] work", "does galley [use|have|do|support] [mtp|speculative decoding|multi-token prediction|drafting]", "why is [mtp|speculative decoding] [fast|useful|good]", "how [do|does] [drafts|draft tokens|the mtp layer] work"],
            ["mtp", "MTP", "multi-token prediction", "speculative decoding", "the mtp layer", "draft tokens", "mtp in galley"]),
    "mla": (["what [is|does|means] [mla|multi-head latent attention|latent attention|multi head latent attention]", "how does [mla|latent attention|multi-head latent attention] [work|save memory|help]", "why [is|does] [mla|latent attention] [used|useful|save memory|good]", "how [small|big] is the kv cache", "does galley [use|support|have] [mla|latent attention]"],
            ["mla", "MLA", "latent attention", "multi-head latent attention", "the kv cache", "mla in galley", "the latent cache"]),
    "chatcli": (["how [do i|can i|to] [chat|talk] [in|on|from|with galley in] [the terminal|the command line|a shell|the console]", "is there a [terminal chat|cli|command line tool|chat command|console]", "[what|which] [commands|subcommands|cli commands|tools] [does galley have|are there|exist]", "what does galley [chat|bench|inspect|tokenize|version] do", "how [do i|can i] [use|run] [galley chat|galley bench|galley inspect|the cli]"],
                ["the command line", "the cli", "galley's commands", "galley chat", "galley bench", "the subcommands", "terminal chat"]),
    "who": (
        ["who [are you|are you exactly|is this|am i talking with|is answering|is there]", "what [are you|are you exactly|sort of model are you|type of model are you|ai are you|llm is this|model is answering|architecture are you]", "who [made|built|trained|created|developed|wrote|programmed|designed] [you|this model]", "what is your [name|size|architecture]", "what do [i|they|people] call you", "what should i call you",
         "are you [a bot|a robot|a human|a person|an ai|a language model|a machine|an llm|real|a program|chatgpt|gpt|gpt-5|claude|deepseek|deepseek v3|qwen|llama|gemini|a chatbot|a large model|a small model|a demo|r1]", "how [big|large|small|old a model] are you", "how many [parameters|weights] [do you have|are in you]", "[introduce|describe|present] yourself [please|briefly|shortly|]", "tell me [who you are|what you are|about you|something about yourself|more about yourself]", "your name?", "say who you are"],
        ["you", "yourself", "this model", "the demo model", "your name", "your size", "who you are", "who made you"]),
    "can": (
        ["what [can you do|could you do|are you able to do|do you do|are you good at|are you good for|are you made for|are you useful for|are your talents|are your functions|are your features|are your strengths|tasks can you do|tasks do you know|questions can you answer]", "how [can|could|do] you help [me|us|]", "how [do i|can i|should i|does one] [use you|talk to you|ask you things|work with you|make use of you]", "[can|could|will] you [help|help me|assist me|be useful|do something]", "what [can|could|should|may] i [ask|ask you|do with you|try|use you for]",
         "[give|show] me [an example|examples|a demo|some examples|your features|a list of your abilities]", "what is your [purpose|use|function|job|task|skill]", "which [tasks|things|problems] can you [do|solve]", "[can|do] you do [math|maths|arithmetic|anything|sums|something useful]", "what's your purpose", "why do you exist"],
        ["your abilities", "your skills", "your features", "your capabilities", "what you can do", "your functions", "your strengths", "help"]),
    "cannot": (
        ["what [can't you do|can you not do|can not you do|are you unable to do|don't you know|do you fail at|are you not good at|do you struggle with|is too hard for you|are your flaws|are your weak points|are your shortcomings|are your limits|do you get wrong|are you terrible at]", "[are you|will you be] [ever |always |]<wrong>", "[do|can|will|could] you [ever |sometimes |often |]<err>",
         "[can|should|may] i [trust|rely on|believe] [you|your answers]", "how [reliable|accurate|smart|good|trustworthy|often wrong|correct] are you", "is there [something|anything|a thing] you [can't do|can not do|do not know|don't know]", "are there [things|tasks] you [can't|cannot] do", "are your answers [right|correct|reliable|always correct|true]", "[do|does] you have [limits|limitations|weaknesses|weak points|flaws]"],
        ["your limits", "your limitations", "your weak points", "your flaws", "your mistakes", "your errors", "your accuracy", "your shortcomings", "what you can't do", "what you cannot do"]),
    "hello": (
        ["[hello|hi|hey|hiya|hello hello|good morning|good evening|good day|good afternoon|greetings|yo|howdy|hallo|heya|sup|welcome] [there|galley|friend|everyone|again|bot|assistant|buddy|my friend|you|mate|dear model|little model|||||]", "[hello|hi|hey|good morning|] [how are you|how are you doing|how do you do|how's it going|how is it going|what's up|what's new|how have you been|how are things|are you there|anyone there|are you awake|nice to see you|pleased to meet you|nice meeting you|glad to meet you|good to meet you|glad to be here|i am tom|i'm anna|my name is ben] [today|now|||]", "[test|testing|ping|hello world|are you there|is anyone there|is this on|can you hear me]"],
        []),
    "thanks": (
        ["[thanks|thank you|thx|ty|many thanks|thank you so much|thanks so much|thank you kindly|cheers|much appreciated|i appreciate it|appreciated] [a lot|very much|bot|galley|friend|for that|for the answer|for helping|for your time|again|||]", "[good|great|nice|very nice|excellent|amazing|wonderful|awesome|perfect|fantastic|superb|brilliant|so good|really good|pretty good|very cool|super] [job|work|answer|one|stuff|model|robot|assistant|thinking|!||]", "[that's|that is|this is|it's|you are|you're|that was] [good|great|right|correct|nice|amazing|awesome|perfect|excellent|cool|helpful|clever|smart|impressive|very good|so cool|wonderful|what i needed]", "[ok|okay|alright|yes|fine|i see|got it|understood|right|correct|sure|wow|cool|yay|lol|haha|well done|bravo|exactly|indeed] [thanks|thank you|good|great|nice|cool|||]"],
        []),
    "bye": (
        ["[bye|goodbye|bye bye|bye-bye|good night|farewell|see you|see ya|cu|so long|take care|have a nice day|have a good day|until next time|later|catch you later|ciao] [then|galley|bot|friend|tomorrow|soon|later|next time|everyone|now||||]", "[i have to|i must|i need to|i'm going to|i will|let me] [leave|go|sleep|go now|stop here|leave now|go to bed|log off|head out]", "[talk|speak|see|chat] [to you|with you|you|] [soon|tomorrow|next time|again|another time]", "[that's all|that is all|i'm done|that will be all|i am leaving|i'm off|we are done] [bye|for today|for now|]"],
        []),
}
Z = "[galley|galley|galley|Galley|这个服务器|这个项目|它|这个软件|galley服务器]"
ZH = {
    "galley": (["galley[到底|究竟|]是[什么|啥|个什么东西|做什么用的|干什么的]", "galley[主要|]用来[做什么|干什么|干嘛]", "[这个项目|这个软件|这个程序|galley]的[目的|作用|用途|目标]是什么", "为什么[要用|需要|有]galley", "什么叫galley", "galley[有什么特点|有什么用处|谁在用|适合谁|解决什么问题]", "[我在用什么|我运行的是什么]软件", "[请|你|给我|帮我|]简单[介绍|说明|讲]一下[galley|这个项目]"],
               ["galley", "galley项目", "这个软件", "这个项目", "galley这个系统", "galley的用途"]),
    "start": ([f"[怎么|如何|怎样|咋|要怎么|该怎么|我怎么]启动{Z}", f"[怎么|如何|怎样|该怎么]" + f"[运行|安装|部署|编译|搭建|开启|使用|跑起来|打开]{Z}", "[启动|运行|安装|部署|编译]galley[的命令|要什么命令|要做什么|需要几步|的步骤|的方法][是什么|]", "[怎么|如何]开始", "galley[怎么跑|怎么装|怎么部署|如何启动|如何安装|怎样运行|怎么打开|怎么编译]", "[用什么|哪个]命令启动[galley|服务|服务器]", "我想[启动|安装|运行|部署]galley"],
              ["galley的安装", "galley的启动方法", "galley的启动命令", "安装步骤", "怎么启动", "galley的部署", "galley的使用方法"]),
    "queue": (["[服务器|galley|系统]" + "[很忙|繁忙|过载|满了|负载很高|忙不过来|压力大]" + "[怎么办|会怎样|时怎么处理|会发生什么|的时候怎么办|怎么处理]", "[请求|用户|人]" + "[太多|很多|多了|过多]" + "[会怎样|怎么办|怎么处理|会发生什么|galley怎么办]", "galley会[拒绝|丢弃|拒掉|排队|丢掉][请求|我的请求|用户|]吗", "galley[怎么|如何]" + "[处理|应对|对付]" + "[高负载|过载|高并发|高峰|很多请求|大量用户|并发]", "为什么[要排队|我在等|要等|在排队]", "[服务器|系统]" + "[忙|繁忙|忙吗|满了吗|过载了吗]", "我的请求会被[拒绝|丢掉|排队]吗"],
              ["排队", "galley的排队机制", "高并发", "过载", "高峰期", "服务器繁忙", "galley的队列", "高负载"]),
    "api": (["galley[有|提供|支持|用]" + "[什么|哪些]" + "[接口|api|协议|端点]", "galley[兼容|支持]" + "[openai|openai接口|openai的api|流式|流式输出|http|sse]吗", "[怎么|如何|怎样]" + "[调用|访问|连接|请求|使用]" + "[api|接口|galley的接口|galley的api|服务]", "[galley|服务|服务器]的[端口|地址|url|网址]是[多少|什么|哪个]", "能用[curl|openai库|python客户端|openai sdk|http]" + "[调用|访问|连接|]吗", "[程序|代码|python|我的应用][里|中|]怎么[调用|连接|访问|使用]galley", "galley[监听|用|运行在]哪个端口"],
            ["接口", "galley的接口", "api", "galley的api", "端口", "接口地址", "openai兼容性", "流式输出", "客户端调用"]),
    "language": (["[galley|这个项目|这个软件|它][用|拿|是用]什么[语言|编程语言]" + "[写的|开发的|编写的|实现的]", "galley是[不是|]" + "[python|c++|C++|rust|go|java|C语言]" + "[写的|开发的|编写的|实现的]吗", "galley[用|使用]的[是什么|什么|哪种]" + "[语言|编程语言]", "[运行galley|galley|服务][需要|要|用不用]" + "[python|java|装python|c++]吗", "galley的[源代码|代码]是什么语言"],
                 ["galley的编程语言", "galley的开发语言", "galley的源代码", "galley用的语言"]),
    "models": (["galley[能|可以|会|]" + "[支持|运行|加载|跑|部署|服务]" + "[哪些|什么|哪种|多少]模型", "galley[能|可以|能不能|支不支持|支持]" + "[跑|运行|加载|]" + "[deepseek|deepseek v3|deepseek-r1|r1|v3|qwen|qwen2|llama|llama3|别的模型|其他模型|我的模型|自己的模型|fp8模型]吗", "[能|可以|能不能]" + "[用|换|加载|跑]" + "[别的|自己的|其他|更大的|我的]模型[吗|]", "[支持|兼容]" + "[deepseek|qwen|llama|哪些模型|什么模型|fp8][吗|]"],
               ["支持的模型", "galley的模型", "模型支持", "galley支持的模型列表", "deepseek支持"]),
    "hardware": (["galley[需要|要|必须有|用|支持|要不要|需不需要]" + "[显卡|gpu|GPU|英伟达显卡|cuda|CPU|特殊硬件|什么显卡|什么硬件|什么配置][吗|]", "[没有|没|不用|没装]" + "[显卡|gpu|GPU|英伟达|cuda]" + "[能|可以|也能]" + "[跑|运行|用|用galley|跑galley]吗", "[笔记本|普通电脑|cpu|我的电脑|老电脑]" + "[能|可以|上能]" + "[跑|运行|用]" + "[galley|]吗", "[运行|跑|使用]galley[需要|要]" + "[什么|多少]" + "[硬件|配置|显卡|内存|机器]", "[一定|必须]" + "要[显卡|gpu|cuda]吗"],
                 ["硬件要求", "galley的硬件要求", "配置要求", "显卡要求", "gpu支持", "系统要求"]),
    "license": (["galley[是|用|采用|使用]" + "[什么|哪个|哪种]" + "[许可证|许可|许可协议|开源协议|授权|license]", "galley[收费|免费|开源|是开源的|是免费的|花钱|能商用|可以免费用]吗", "[用|使用]galley[要|需要|得]" + "[付费|花钱|多少钱|交钱]吗", "galley[多少钱|什么价格|价格是多少|收多少钱|贵不贵|贵吗]", "[公司|企业|我们]" + "[能|可以]" + "[用|商用|免费使用]galley吗", "galley的[协议|许可|授权]是什么"],
                ["许可证", "galley的许可证", "galley的价格", "galley的费用", "开源协议", "商业使用"]),
    "mtp": (["[什么是|什么叫|啥是]" + "[mtp|MTP|多token预测|投机解码|推测解码]", "[mtp|MTP|多token预测|投机解码]" + "[是什么|怎么工作|有什么用|是啥|什么意思|的原理]", "galley[用|支持|有]" + "[mtp|MTP|投机解码|多token预测]吗", "[怎么|如何]加速[解码|推理|生成]"], ["mtp", "MTP", "多token预测", "投机解码", "MTP层"]),
    "mla": (["[什么是|什么叫|啥是]" + "[mla|MLA|潜在注意力|多头潜在注意力]", "[mla|MLA|潜在注意力|多头潜在注意力]" + "[是什么|有什么用|是啥|什么意思|的原理|怎么省内存|如何工作]", "[为什么|怎么]" + "[kv缓存|KV缓存|缓存]" + "[这么小|很小|小|那么小]", "galley[用|支持|有]" + "[mla|MLA|潜在注意力]吗"], ["mla", "MLA", "潜在注意力", "多头潜在注意力", "KV缓存"]),
    "chatcli": (["[怎么|如何]在[终端|命令行|控制台][里|][聊天|对话|使用|跟你聊]", "galley[有|有没有]" + "[什么|哪些|]" + "[命令|子命令|命令行|命令行工具]", "[galley chat|galley bench|galley inspect]" + "[是什么|怎么用|做什么|有什么用]", "[有没有|有]" + "[命令行|终端]" + "[聊天|工具|客户端][吗|]"], ["命令行", "galley的命令", "galley chat", "终端聊天", "子命令"]),
    "who": (["你[是|到底是|究竟是]" + "[谁|什么|什么模型|啥|什么东西|哪个模型|什么ai|哪家的模型]", "你[叫啥|叫什么名字|的名字|叫什么|姓什么][是什么|]", "[谁|哪家公司|哪个团队]" + "[做的|开发的|训练的|创造的|造的|制作的]" + "你", "你是[人|机器人|真人|ai|AI|人工智能|deepseek|chatgpt|gpt|claude|通义千问|程序|大模型|小模型|聊天机器人|语言模型|演示模型]吗", "你[多大|有多少参数|参数量是多少|参数多少|有多大规模]", "[说说|介绍|讲讲|自我]" + "[你自己|你是谁|一下自己]", "我在[跟|和|同]谁[聊天|说话|对话]"],
            ["你自己", "你", "这个模型", "演示模型", "你的名字", "你的来历"]),
    "can": (["你[会|能|可以|都会|都能|究竟会]" + "[什么|做什么|干什么|干嘛|些什么|做哪些事|做点什么|回答什么|做啥]", "你有[什么|哪些]" + "[功能|本领|能力|技能|用处|用途|特长]", "[我|可以|我能]" + "[怎么用你|问你什么|让你做什么|用你做什么|怎么使用你|问什么]", "[能|可以|请]" + "帮[我|我一下|个忙|忙]吗", "你[擅长|善于]" + "[什么|做什么|哪些]", "[举个|给个|给我一些]例子", "你[会|能]" + "[算数|数学|算术|计算|做题]吗", "你[的作用|的用途|的功能|的任务]是什么"],
            ["你的功能", "你的能力", "你会的东西", "你的本领", "你的用途", "你的特长", "使用方法"]),
    "cannot": (["你[不会|不能|不擅长|做不到|做不了|不懂|不知道]" + "[什么|哪些|的有哪些|做什么|的是什么]", "你有[什么|哪些]" + "[缺点|局限|不足|弱点|限制|短处|毛病]", "你[会|可能|经常|有时|常常]" + "[出错|犯错|算错|弄错|说错|错]吗", "[我|能|可以|我能]" + "[相信你|信任你|信你|依赖你|相信你的答案]吗", "你[可靠|准确|聪明|靠谱|准|厉害不厉害|正确]吗", "你的[答案|回答|结果]" + "[对吗|可靠吗|准确吗|一定对吗|正确吗|都对吗]", "有[什么|没有]你[不会|做不到|不能做]的[事|吗|]"],
               ["你的局限", "你的缺点", "你的弱点", "你的不足", "你的准确率", "你不会的东西", "你的限制"]),
    "hello": (["[你好|您好|嗨|哈喽|嘿|早上好|晚上好|下午好|中午好|早|大家好|hi|hello|哈啰|早安]" + "[啊|呀|！|，galley|，朋友|，机器人|，小模型|，在吗|，很高兴见到你|，认识你很高兴|，最近好吗||||]", "[你好|嗨|]" + "[你还好吗|最近好吗|过得怎么样|今天好吗|在不在|有人吗|能听到吗|在么|你在吗|吃了吗|最近如何]", "[测试|试试|测试一下|喂|有人吗]"], []),
    "thanks": (["[谢谢|多谢|感谢|谢了|谢谢你|谢谢您|非常感谢|太感谢了|十分感谢]" + "[啦|了|！|你的帮助|你的回答|，很好|galley|||]", "[真|太|很|非常|挺|好|特别]" + "[好|棒|厉害|不错|聪明|强|赞|对|牛][了|啊|！||]", "[你|回答得|做得|算得]" + "[真棒|很好|真好|不错|很棒|太好了|真厉害|很对|真聪明|真不错]", "[好的|好|可以|明白了|知道了|懂了|嗯|嗯嗯|对|是的|没错|行|哈哈|哇|收到|了解|好吧|ok]" + "[，谢谢|谢谢|，多谢|||]"], []),
    "bye": (["[再见|拜拜|晚安|回头见|下次见|回见|告辞|拜|再会]" + "[啦|了|！|，galley|，朋友|||]", "[我|我得|我要|我先]" + "[走啦|离开了|先走了|下线了|去睡觉了|睡了|走了啊|先撤了|去忙了|要走了|溜了]", "[明天|改天|下次|以后|回头|下周]" + "[再聊|再见|再说|见|聊]", "[今天|就]到这[里|吧|里吧]"], []),
}
FILL = {"<wrong>": ["wrong", "incorrect", "mistaken", "in error", "right", "correct"], "<err>": ["make mistakes", "make errors", "err", "get things wrong", "fail", "be wrong", "make a mistake", "hallucinate", "get it wrong"]}


def expand(rng: random.Random, pattern: str) -> str:
    while "[" in pattern:
        pattern = re.sub(r"\[([^\[\]]*)\]", lambda m: rng.choice(m.group(1).split("|")), pattern)
    for key, choices in FILL.items():
        if key in pattern:
            pattern = pattern.replace(key, rng.choice(choices))
    return re.sub(r" +", " ", pattern).strip()


def bare(text: str) -> str:
    return re.sub(r"[^\w]", "", text.lower())


def compose(rng: random.Random, topic: str, lang: str) -> str:
    questions, nouns = (EN if lang == "en" else ZH)[topic]
    if nouns and rng.random() < 0.3:
        return rng.choice(ABOUT if lang == "en" else ABOUT_ZH).format(rng.choice(nouns))
    text = expand(rng, rng.choice(questions))
    if topic in ("hello", "thanks", "bye"):
        return text
    return rng.choice(ASKING if lang == "en" else ASKING_ZH).format(text)
